package kernel

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Bandwidth is what a pod may send and receive, in the words of CNI's capability
// of that name: ingress is what the pod receives.
type Bandwidth struct {
	IngressRate  uint64 // bits per second; 0: no limit
	IngressBurst uint64 // bits; 0: 10 ms of the rate, at least 64 KiB
	EgressRate   uint64 // bits per second; 0: no limit
	EgressBurst  uint64 // bits; likewise
}

const (
	minBurst   = 64 << 10 // bytes: one segment as big as offload makes it
	tbfLatency = 25_000   // µs that a packet may wait in the queue
)

// Shape limits a pod at its host end. A token bucket queues what the pod
// receives; another one queues what it sends, on an ifb device to which that is
// led, since a device's own queue is only for what leaves through it. Zero rates
// take limits away. It may be repeated.
func (k *Kernel) Shape(ctx context.Context, hostDev string, b Bandwidth) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !datapath.IsPodLink(hostDev) {
		return fmt.Errorf("kernel: shape %q: not the host end of a pod", hostDev)
	}
	host, err := k.route.LinkByName(hostDev)
	if err != nil {
		return fmt.Errorf("kernel: shape %s: %w", hostDev, err)
	}
	if err := k.bucket(host.Attrs().Index, b.IngressRate/8, b.IngressBurst/8); err != nil {
		return fmt.Errorf("kernel: shape %s to %d bit/s ingress: %w", hostDev, b.IngressRate, err)
	}
	if b.EgressRate == 0 {
		err = k.unshapeEgress(host)
	} else {
		err = k.shapeEgress(host, b.EgressRate/8, b.EgressBurst/8)
	}
	if err != nil {
		return fmt.Errorf("kernel: shape %s to %d bit/s egress: %w", hostDev, b.EgressRate, err)
	}
	return nil
}

// bucket sets the token bucket of a device; rate in bytes per second.
func (k *Kernel) bucket(index int, rate, burst uint64) error {
	attrs := netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	if rate == 0 {
		return noQdisc(k.route.QdiscDel(&netlink.Tbf{QdiscAttrs: attrs}))
	}
	if burst == 0 {
		burst = rate / 100
	}
	burst = max(burst, minBurst)
	return k.route.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: attrs, Rate: rate,
		Buffer: uint32(min(float64(burst)*1e6/float64(rate)*netlink.TickInUsec(), math.MaxUint32)),
		Limit:  uint32(min(burst+rate*tbfLatency/1_000_000, math.MaxUint32)),
	})
}

// ifbOf names the ifb device of a pod: wi instead of wf.
func ifbOf(hostDev string) string { return "wi" + hostDev[len(datapath.PodPrefix):] }

func (k *Kernel) shapeEgress(host netlink.Link, rate, burst uint64) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = ifbOf(host.Attrs().Name), host.Attrs().MTU
	if err := k.route.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("device %s: %w", attrs.Name, err)
	}
	ifb, err := k.route.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	if ifb.Type() != "ifb" {
		return fmt.Errorf("a %s device of somebody else is named %s; remove it: ip link delete %s", ifb.Type(), attrs.Name, attrs.Name)
	}
	if err := k.route.LinkSetUp(ifb); err != nil {
		return fmt.Errorf("set %s up: %w", attrs.Name, err)
	}
	if err := k.bucket(ifb.Attrs().Index, rate, burst); err != nil {
		return fmt.Errorf("token bucket of %s: %w", attrs.Name, err)
	}
	in := ingress(host)
	if err := noQdisc(k.route.QdiscDel(in)); err != nil {
		return err
	}
	if err := k.route.QdiscAdd(in); err != nil {
		return fmt.Errorf("ingress qdisc: %w", err)
	}
	lead := netlink.NewMirredAction(ifb.Attrs().Index)
	return k.route.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: host.Attrs().Index, Parent: in.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{lead},
	})
}

func (k *Kernel) unshapeEgress(host netlink.Link) error {
	return errors.Join(noQdisc(k.route.QdiscDel(ingress(host))), removeIfb(k.route, host.Attrs().Name))
}

// removeIfb removes the ifb device of a pod, also when its veth is gone already.
func removeIfb(h *netlink.Handle, hostDev string) error {
	if !datapath.IsPodLink(hostDev) {
		return nil
	}
	if err := removeLink(h, ifbOf(hostDev), "ifb"); err != nil && !isGone(err) {
		return fmt.Errorf("remove %s: %w", ifbOf(hostDev), err)
	}
	return nil
}

func ingress(host netlink.Link) *netlink.Ingress {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: host.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
}

// noQdisc takes the absence of what was to be deleted for success.
func noQdisc(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || isGone(err) {
		return nil
	}
	return err
}
