package kernel

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// many are the kinds of which a peer has several, so that their steps go to the
// kernel together.
var many = datapath.Of(datapath.KindNeigh, datapath.KindFDB, datapath.KindRoute)

// batch takes steps on objects of these kinds, from i on, and says where the
// steps end. What the kernel refuses is taken again by itself, by step, which
// knows what a refusal can mean; before that nothing is removed, on which what was
// refused to be replaced still rests.
func (k *hands) batch(ctx context.Context, ops []datapath.Op, i int, errs []error) (next int) {
	var msgs []rtMessage
	var at []int
	next = i
	removes := ops[i].New == nil
	if removes && k.replaced {
		k.replaced = false
		grace()
	}
	for ; next < len(ops) && many.Has(ops[next].Key().Kind) && (ops[next].New == nil) == removes; next++ {
		if m, ok := k.message(ops[next]); ok {
			msgs, at = append(msgs, m), append(at, next)
		} else {
			errs[next] = k.step(ctx, ops[next])
		}
	}
	for j, err := range k.rt.do(msgs) {
		if op := ops[at[j]]; err != nil && !(op.New == nil && isGone(err)) {
			errs[at[j]] = k.step(ctx, op)
		}
	}
	return next
}

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL (include/uapi/linux/membarrier.h).
const membarrierGlobal = 1

// grace returns when no packet goes by a route that was replaced any more: one that
// had found it before may still look for its neighbour, on a processor that was kept
// from running meanwhile. The call waits for such readers (kernel/sched/membarrier.c:
// synchronize_rcu); where it may not be called, that moment is not waited for.
func grace() { _, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0) }

// message is a step as one message; false where it needs more than that.
func (k *hands) message(op datapath.Op) (rtMessage, bool) {
	o := op.New
	if o == nil {
		o = op.Old
	}
	switch o := o.(type) {
	case datapath.Neigh:
		index, err := k.index(o.Dev)
		m := neighMessage(family(o.IP), index, unix.NUD_PERMANENT, 0, o.IP, o.MAC)
		return m.deleting(op.New == nil, unix.RTM_DELNEIGH), err == nil
	case datapath.FDB:
		index, err := k.index(o.Dev)
		k.fdbs.told(o, op.New != nil)
		m := neighMessage(unix.AF_BRIDGE, index, unix.NUD_PERMANENT|unix.NUD_NOARP, unix.NTF_SELF, o.Dst, o.MAC)
		return m.deleting(op.New == nil, unix.RTM_DELNEIGH), err == nil
	case datapath.Route:
		k.dests.told(o.Dst, op.New != nil)
		k.replaced = k.replaced || op.New != nil && op.Old != nil
		if op.New == nil {
			return rtMessage{}, false
		}
		return k.routeMessage(o, op.Old != nil)
	}
	return rtMessage{}, false
}

func (m rtMessage) deleting(is bool, typ uint16) rtMessage {
	if is {
		m.typ, m.flags = typ, 0
	}
	return m
}

// neighMessage writes struct ndmsg (include/uapi/linux/neighbour.h), NDA_DST and
// NDA_LLADDR.
func neighMessage(family uint8, index int, state uint16, flags uint8, ip netip.Addr, mac datapath.MAC) rtMessage {
	b := attrs{family, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint16(b, state)
	b = append(b, flags, unix.RTN_UNICAST)
	b.bytes(unix.NDA_DST, ip.AsSlice())
	b.bytes(unix.NDA_LLADDR, mac[:])
	return rtMessage{unix.RTM_NEWNEIGH, unix.NLM_F_CREATE | unix.NLM_F_REPLACE, b}
}

// routeMessage writes struct rtmsg (include/uapi/linux/rtnetlink.h) and its
// attributes; false where the device is not there.
func (k *hands) routeMessage(o datapath.Route, replace bool) (rtMessage, bool) {
	scope, flags := uint8(unix.RT_SCOPE_UNIVERSE), uint32(0)
	if !o.Via.IsValid() && o.Type == datapath.RouteNormal && o.Dst.Addr().Is4() {
		scope = unix.RT_SCOPE_LINK
	}
	if o.OnLink {
		flags = unix.RTNH_F_ONLINK
	}
	b := attrs{
		family(o.Dst.Addr()), uint8(o.Dst.Bits()), 0, 0,
		unix.RT_TABLE_MAIN, datapath.RouteProto, scope, uint8(routeType(o)),
	}
	b = binary.NativeEndian.AppendUint32(b, flags)
	b.bytes(unix.RTA_DST, o.Dst.Addr().AsSlice())
	if o.Via.IsValid() {
		b.bytes(unix.RTA_GATEWAY, o.Via.AsSlice())
	}
	if o.Src.IsValid() {
		b.bytes(unix.RTA_PREFSRC, o.Src.AsSlice())
	}
	if o.Dev != "" {
		index, err := k.index(o.Dev)
		if err != nil {
			return rtMessage{}, false
		}
		b.number(unix.RTA_OIF, uint32(index))
	}
	if o.Metric != 0 {
		b.number(unix.RTA_PRIORITY, o.Metric)
	}
	if o.MTU != 0 {
		var metrics attrs
		metrics.number(unix.RTAX_MTU, uint32(o.MTU))
		b.bytes(unix.RTA_METRICS, metrics)
	}
	m := rtMessage{unix.RTM_NEWROUTE, unix.NLM_F_CREATE | unix.NLM_F_EXCL, b}
	if replace {
		m.flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	return m, true
}

// number writes a number as rtnetlink does, in the host's byte order.
func (a *attrs) number(typ uint16, v uint32) {
	a.bytes(typ, binary.NativeEndian.AppendUint32(nil, v))
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
