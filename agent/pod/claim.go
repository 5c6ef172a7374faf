package pod

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
)

// claim takes addresses, host ports and a device in memory.
func (k *Keeper) claim(a addition, cut *entry) (*entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now, ok := k.Node(); ok && len(now.Lease) > 0 { // a prefix may have been closed meanwhile, and told to be
		a.node.Lease, a.node.Shut = now.Lease, now.Shut
	}
	if cut != nil {
		k.forget(cut)
	}
	e, err := k.compose(a, cut)
	if err != nil {
		if cut != nil {
			k.hold(cut)
		}
		return nil, err
	}
	if cut != nil && !slices.Equal(cut.Addrs, e.Addrs) {
		k.restsSince(cut.Record, k.Now())
	}
	k.hold(e)
	return e, nil
}

// compose makes the record of an attachment. The caller holds mu.
func (k *Keeper) compose(a addition, cut *entry) (*entry, error) {
	dev := a.id.HostDev()
	if other, ok := k.byDev[dev]; ok {
		return nil, cniwire.Errorf(cniwire.CodeInternal, "pod: device %s is that of %v; give the container another id", dev, other)
	}
	if err := k.portsFree(a.wish.hostPorts); err != nil {
		return nil, err
	}
	want := a.wish.addrs
	if cut != nil && len(want) == 0 && covers(a.node, cut.Record) {
		want = cut.Addrs
	}
	addrs, err := k.pick(a.node, want)
	if err != nil {
		return nil, err
	}
	if err := portsLead(a.wish.hostPorts, addrs); err != nil {
		return nil, err
	}
	var gateway netip.Addr
	for _, addr := range addrs {
		if addr.Is4() {
			gateway = a.node.gateway(addr)
		}
	}
	r := Record{
		Schema: schema.Attachment.Version(), ContainerID: a.id.ContainerID, IfName: a.id.IfName, Network: a.conf.Name,
		Boot: k.Boot, NetNS: a.path, NSID: a.nsid, HostDev: dev, HostMAC: k.NewMAC().String(),
		MAC: a.wish.mac.String(), MTU: a.node.MTU, Addrs: addrs, Gateway4: gateway,
		HostPorts: a.wish.hostPorts, Bandwidth: a.wish.bandwidth, Labels: a.wish.labels,
		Namespace: a.wish.args.namespace, Pod: a.wish.args.pod, UID: a.wish.args.uid, Created: k.Now().UTC(),
	}
	if a.wish.mac == (intent.MAC{}) {
		r.MAC = k.NewMAC().String()
	}
	return &entry{Record: r}, nil
}

// covers tells whether a record's addresses are still what the lease would give.
func covers(n Node, r Record) bool {
	families := intent.Families(n.open())
	if len(families) != len(r.Addrs) || slices.ContainsFunc(r.Addrs, func(a netip.Addr) bool {
		return !slices.ContainsFunc(n.open(), func(p netip.Prefix) bool { return p.Contains(a) })
	}) {
		return false
	}
	for i, is4 := range families {
		if r.Addrs[i].Is4() != is4 {
			return false
		}
	}
	return true
}

// portsLead refuses ports on an address of a family that the pod does not have.
func portsLead(ports []HostPort, addrs []netip.Addr) error {
	for _, p := range ports {
		if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !p.HostIP.IsValid() || p.HostIP.Is4() == a.Is4() }) {
			return cniwire.Errorf(cniwire.CodeConfig, "pod: host port %v leads nowhere: the pod has %v", p, addrs)
		}
	}
	return nil
}

// portsForPods refuses ports that the fabric itself needs: without them the node
// would hear no peer, and nobody a server on it.
func (k *Keeper) portsForPods(ports []HostPort, n Node) error {
	for _, p := range ports {
		if k.Reserved != nil {
			if who := k.Reserved(p.Protocol, p.HostPort); who != "" {
				return cniwire.Errorf(cniwire.CodeConfig, "pod: host port %v is that of %s on this node; give the pod another hostPort", p, who)
			}
		}
		if p.Protocol == "udp" && n.VXLANPort != 0 && p.HostPort == n.VXLANPort {
			return cniwire.Errorf(cniwire.CodeConfig,
				"pod: host port %v is the fabric's own (VXLAN); give the pod another hostPort, or the cluster another vxlanPort in ClusterConfig", p)
		}
	}
	return nil
}

// portsFree refuses ports of the node that another pod has. The caller holds mu.
func (k *Keeper) portsFree(ports []HostPort) error {
	for _, p := range ports {
		for _, e := range k.entries {
			if slices.ContainsFunc(e.HostPorts, p.clashes) {
				return cniwire.Errorf(cniwire.CodeTryAgain, "pod: host port %v is held by %s", p, e.Who())
			}
		}
	}
	return nil
}

// unclaim undoes claim. The addresses never reached the kernel, or did so in an
// earlier try: they rest.
// A file that cannot be removed keeps them: the next start would find it.
func (k *Keeper) unclaim(e *entry) {
	if err := k.shelf.drop(e.HostDev, suffixAdding); err != nil {
		k.Log.Error("record of a failed ADD not removed", note.Pod, e.Who(), note.Err, err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(e)
	k.restsSince(e.Record, k.Now())
}
