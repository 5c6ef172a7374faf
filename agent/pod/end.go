package pod

import (
	"context"
	"crypto/rand"
	"net/netip"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// Kernel is what this room needs of package kernel.
type Kernel interface {
	Attach(ctx context.Context, a kernel.Attachment) (kernel.Attached, error)
	Shape(ctx context.Context, hostDev string, b kernel.Bandwidth) error
	Detach(ctx context.Context, hostDev string) error
	CheckAttached(ctx context.Context, a kernel.Attachment) (kernel.Attached, error)
	ForgetFlows(ctx context.Context, ports []kernel.Forward) error
	Observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error)
}

// Loop puts objects into the kernel.
type Loop interface {
	// Sync plans again and returns when the objects under these keys are applied,
	// or removed if they are no longer planned.
	Sync(ctx context.Context, keys []datapath.Key) error
}

// attachment is what a record asks of the kernel on the pod's side.
func (r Record) attachment() kernel.Attachment {
	a := kernel.Attachment{
		HostDev: r.HostDev, HostMAC: mac(r.HostMAC), NetNS: r.NetNS, IfName: r.IfName, MAC: mac(r.MAC), MTU: r.MTU,
	}
	for _, addr := range r.Addrs {
		a.Addrs = append(a.Addrs, netip.PrefixFrom(addr, addr.BitLen()))
		if gw := r.gateway(addr.Is4()); gw.IsValid() {
			a.Gateways = append(a.Gateways, gw)
		}
	}
	return a
}

// attach makes the veth of a record, with its pod's end and its limits.
func (k *Keeper) attach(ctx context.Context, r Record) error {
	if _, err := k.Kernel.Attach(ctx, r.attachment()); err != nil || r.Bandwidth == (Bandwidth{}) {
		return err
	}
	return k.Kernel.Shape(ctx, r.HostDev, kernel.Bandwidth(r.Bandwidth))
}

// forgetFlows has a sender that does not pause reach what the node's ports lead
// to now: the pod if it is live, else what they led to without it. TCP begins
// anew by itself, so a pod without other ports costs nothing here.
func (k *Keeper) forgetFlows(ctx context.Context, r Record, live bool) {
	var ports []kernel.Forward
	for _, h := range r.hostPorts() {
		if h.Proto != "tcp" {
			ports = append(ports, kernel.Forward{Proto: h.Proto, HostIP: h.HostIP, Port: h.HostPort, Pod: h.Pod, Live: live})
		}
	}
	if len(ports) == 0 {
		return
	}
	if err := k.Kernel.ForgetFlows(ctx, ports); err != nil {
		k.Log.Warn("old flows to host ports stay until their senders pause", note.Pod, r.Who(), note.Err, err)
	}
}

// randomMAC is a locally administered unicast address (IEEE 802, clause 8.4).
func randomMAC() intent.MAC {
	var m intent.MAC
	_, _ = rand.Read(m[:]) // never fails (crypto/rand)
	m[0] = m[0]&^1 | 2
	return m
}
