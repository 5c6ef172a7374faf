package kernel

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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
	minBurst    = 64 << 10 // bytes: one segment as big as offload makes it
	tbfLatency  = 25_000   // µs that a packet may wait in the queue
	ingressHook = netlink.HANDLE_INGRESS
)

// Shape limits a pod at its host end: a token bucket queues what the pod
// receives, a policer drops what it sends too fast (TCP settles below the rate).
// Zero rates take limits away. It may be repeated.
func (k *Kernel) Shape(ctx context.Context, hostDev string, b Bandwidth) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	index, err := indexOf(k.route, hostDev)
	if err != nil {
		return fmt.Errorf("kernel: shape: %w", err)
	}
	if err := k.shapeIngress(index, b.IngressRate/8, b.IngressBurst/8); err != nil {
		return fmt.Errorf("kernel: shape %s to %d bit/s ingress: %w", hostDev, b.IngressRate, err)
	}
	if err := k.shapeEgress(index, b.EgressRate/8, b.EgressBurst/8); err != nil {
		return fmt.Errorf("kernel: shape %s to %d bit/s egress: %w", hostDev, b.EgressRate, err)
	}
	return nil
}

func (k *Kernel) shapeIngress(index int, rate, burst uint64) error {
	attrs := netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	if rate == 0 {
		return noQdisc(k.route.QdiscDel(&netlink.Tbf{QdiscAttrs: attrs}))
	}
	burst = bucket(rate, burst)
	return k.route.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: attrs, Rate: rate,
		Buffer: uint32(min(burst*1_000_000/rate*uint64(netlink.TickInUsec()), math.MaxUint32)),
		Limit:  uint32(min(burst+rate*tbfLatency/1_000_000, math.MaxUint32)),
	})
}

func (k *Kernel) shapeEgress(index int, rate, burst uint64) error {
	attrs := netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: ingressHook}
	if err := noQdisc(k.route.QdiscDel(&netlink.Ingress{QdiscAttrs: attrs})); err != nil || rate == 0 {
		return err
	}
	if err := k.route.QdiscAdd(&netlink.Ingress{QdiscAttrs: attrs}); err != nil {
		return err
	}
	police := netlink.NewPoliceAction()
	police.Rate, police.Burst = uint32(min(rate, math.MaxUint32)), uint32(min(bucket(rate, burst), math.MaxUint32))
	police.Mtu = minBurst
	police.ExceedAction = netlink.TC_POLICE_SHOT
	return k.route.FilterAdd(&netlink.MatchAll{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: attrs.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{police},
	})
}

// bucket is how many bytes may pass at once.
func bucket(rate, burst uint64) uint64 {
	if burst == 0 {
		burst = rate / 100
	}
	return max(burst, minBurst)
}

// noQdisc takes the absence of what was to be deleted for success.
func noQdisc(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || isGone(err) {
		return nil
	}
	return err
}
