package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

const (
	metric6  = 1024 // what IPv6 makes of metric 0 (IP6_RT_PRIO_USER)
	loopback = "lo" // the device that IPv6 shows for a blackhole
)

func (k *Kernel) observeRoutes(d *devices, s datapath.State) error {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: datapath.RouteProto}
	const mask = netlink.RT_FILTER_TABLE | netlink.RT_FILTER_PROTOCOL
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := k.routes(family, filter, mask)
		if err != nil {
			return fmt.Errorf("kernel: list of routes: %w", err)
		}
		for _, r := range routes {
			if r.Protocol != datapath.RouteProto || r.Table != unix.RT_TABLE_MAIN {
				continue
			}
			o := routeObject(family, r, d)
			s[o.Key()] = o
			k.dests.told(o.Dst, true)
		}
	}
	return nil
}

// routes lists those of a table. A table that never held a route is not there yet
// (net/ipv4/fib_frontend.c, inet_dump_fib).
func (k *Kernel) routes(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	out, err := dump(func() ([]netlink.Route, error) { return k.table.RouteListFiltered(family, filter, mask) })
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	return out, err
}

// routeObject reads a route. One with several next hops, which we never make,
// comes out without any, so that it differs from what is wanted.
func routeObject(family int, r netlink.Route, d *devices) datapath.Route {
	o := datapath.Route{MTU: r.MTU, Metric: uint32(r.Priority), OnLink: r.Flags&int(netlink.FLAG_ONLINK) != 0}
	o.Dst = anywhere(family)
	if p, ok := prefix(r.Dst); ok {
		o.Dst = p
	}
	if r.Type == unix.RTN_BLACKHOLE {
		o.Type = datapath.Blackhole
	}
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		o.Via = unmapped(family, via)
	}
	if src, ok := netip.AddrFromSlice(r.Src); ok {
		o.Src = unmapped(family, src)
	}
	if len(r.MultiPath) == 0 && o.Type != datapath.Blackhole {
		o.Dev = d.name[r.LinkIndex]
	}
	if family == netlink.FAMILY_V6 && o.Metric == metric6 {
		o.Metric = 0
	}
	return o
}

// putRoute adds a route, or replaces ours in place. A foreign route to the same
// destination is not ours to replace.
func (k *hands) putRoute(o datapath.Route, replace bool) error {
	r, err := k.kernelRoute(o)
	if err != nil {
		return err
	}
	if !replace {
		err := k.pinned(o, r, k.route.RouteAdd)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		if err := k.refuseForeign(o); err != nil {
			return err
		}
	}
	return k.pinned(o, r, k.route.RouteReplace)
}

// pinned sets a route. IPv6 refuses an on-link gateway that another device's
// route covers (net/ipv6/route.c, ip6_route_check_nh_onlink), and a fabric
// address lies within the very prefix that moves from one device to another. A
// host route leads to the gateway while the other is replaced, so that nothing is
// lost.
func (k *hands) pinned(o datapath.Route, r *netlink.Route, set func(*netlink.Route) error) error {
	err := set(r)
	if !errors.Is(err, unix.EINVAL) || !o.OnLink || !o.Via.Is6() {
		return err
	}
	pin := &netlink.Route{
		Dst: ipNet(netip.PrefixFrom(o.Via, o.Via.BitLen())), LinkIndex: r.LinkIndex,
		Table: unix.RT_TABLE_MAIN, Protocol: datapath.RouteProto,
	}
	if perr := k.route.RouteAdd(pin); perr != nil {
		return err
	}
	err = set(r)
	if perr := k.route.RouteDel(pin); perr != nil && !isGone(perr) {
		return errors.Join(err, fmt.Errorf("remove the route to the gateway: %w", perr))
	}
	return err
}

// refuseForeign says whose route stands where ours should.
func (k *hands) refuseForeign(o datapath.Route) error {
	family := netlink.FAMILY_V4
	if o.Dst.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := k.routes(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("who stands in the way: %w", err)
	}
	for _, r := range routes {
		p, ok := prefix(r.Dst)
		metric := uint32(r.Priority)
		if family == netlink.FAMILY_V6 && metric == metric6 {
			metric = 0
		}
		if ok && p == o.Dst && metric == o.Metric && r.Protocol != datapath.RouteProto {
			return fmt.Errorf("a route of somebody else stands in the way; remove it: ip route del %v proto %v: %w", o.Dst, r.Protocol, unix.EEXIST)
		}
	}
	return nil
}

func (k *hands) removeRoute(o datapath.Route) error {
	// Without a device the kernel takes the route by destination, metric and
	// protocol, also when the device went meanwhile.
	r := &netlink.Route{
		Dst: ipNet(o.Dst), Table: unix.RT_TABLE_MAIN, Protocol: datapath.RouteProto,
		Priority: int(o.Metric), Scope: netlink.SCOPE_NOWHERE, Type: routeType(o),
	}
	if o.Dst.Addr().Is6() {
		r.Scope = netlink.SCOPE_UNIVERSE
		if o.Metric == 0 {
			r.Priority = metric6
		}
	}
	return k.route.RouteDel(r)
}

func (k *hands) kernelRoute(o datapath.Route) (*netlink.Route, error) {
	r := &netlink.Route{
		Dst: ipNet(o.Dst), Table: unix.RT_TABLE_MAIN, Protocol: datapath.RouteProto,
		Priority: int(o.Metric), MTU: o.MTU, Type: routeType(o),
	}
	if o.Via.IsValid() {
		r.Gw = o.Via.AsSlice()
	} else if o.Type == datapath.RouteNormal && o.Dst.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	if o.Src.IsValid() {
		r.Src = o.Src.AsSlice()
	}
	if o.OnLink {
		r.SetFlag(netlink.FLAG_ONLINK)
	}
	if o.Dev == "" {
		return r, nil
	}
	index, err := k.index(o.Dev)
	r.LinkIndex = index
	return r, err
}

func routeType(o datapath.Route) int {
	if o.Type == datapath.Blackhole {
		return unix.RTN_BLACKHOLE
	}
	return unix.RTN_UNICAST
}

func anywhere(family int) netip.Prefix {
	if family == netlink.FAMILY_V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func unmapped(family int, a netip.Addr) netip.Addr {
	if family == netlink.FAMILY_V4 {
		return a.Unmap()
	}
	return a
}
