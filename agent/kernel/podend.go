package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// configure makes the pod's end ready: settings first, so that the device never
// listens to a router advertisement, then up, addresses, routes. host is the MAC
// address of the host's end.
func (n *podNS) configure(p Attachment, host datapath.MAC) (*netlink.LinkAttrs, error) {
	end, err := n.h.LinkByName(p.IfName)
	if err != nil {
		return nil, err
	}
	if err := inside(n.ns, func() error { return podSysctls(p) }); err != nil {
		return nil, err
	}
	a := end.Attrs()
	if p.MAC != (datapath.MAC{}) && mac(a.HardwareAddr) != p.MAC {
		if err := n.h.LinkSetHardwareAddr(end, net.HardwareAddr(p.MAC[:])); err != nil {
			return nil, fmt.Errorf("set the MAC address: %w", err)
		}
		a.HardwareAddr = net.HardwareAddr(p.MAC[:])
	}
	if p.MTU != 0 && a.MTU != p.MTU {
		if err := n.h.LinkSetMTU(end, p.MTU); err != nil {
			return nil, fmt.Errorf("set the MTU: %w", err)
		}
		a.MTU = p.MTU
	}
	if err := n.h.LinkSetUp(byIndex(1)); err != nil { // lo is 1 in every namespace (LOOPBACK_IFINDEX)
		return nil, fmt.Errorf("set lo up: %w", err)
	}
	if err := n.h.LinkSetUp(end); err != nil {
		return nil, fmt.Errorf("set it up: %w", err)
	}
	for _, addr := range p.Addrs {
		if err := addAddr(n.h, a.Index, addr); err != nil {
			return nil, fmt.Errorf("address %v: %w", addr, err)
		}
	}
	for _, gw := range p.Gateways {
		if err := n.h.RouteReplace(defaultVia(a.Index, gw)); err != nil {
			return nil, fmt.Errorf("default route via %v: %w", gw, err)
		}
		if err := n.h.NeighSet(gatewayNeigh(a.Index, gw, host)); err != nil {
			return nil, fmt.Errorf("neighbour %v: %w", gw, err)
		}
	}
	return a, nil
}

// gatewayNeigh saves the pod from asking for its gateway, which is an address of
// another device of the host: one with arp_ignore=1 or 2, as kube-proxy's strict
// ARP sets it, answers only for those of the device that was asked on
// (Documentation/networking/ip-sysctl.rst).
func gatewayNeigh(index int, gw netip.Addr, host datapath.MAC) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: index, State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST,
		IP: gw.AsSlice(), HardwareAddr: net.HardwareAddr(host[:]),
	}
}

// podSysctls are settings inside the pod's namespace.
func podSysctls(p Attachment) error {
	if !hasIPv6(p.Addrs) {
		return nil
	}
	// Some runtimes switch IPv6 off in new namespaces.
	if err := writeSysctl("net/ipv6/conf/"+p.IfName+"/disable_ipv6", "0"); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the kernel has no IPv6, but the pod has an IPv6 address: %w", err)
		}
		return err
	}
	return writeSysctl("net/ipv6/conf/"+p.IfName+"/accept_ra", "0")
}

func hasIPv6(ps []netip.Prefix) bool {
	for _, p := range ps {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}

// defaultVia is a default route through a gateway that no subnet covers.
func defaultVia(index int, gw netip.Addr) *netlink.Route {
	family := netlink.FAMILY_V4
	if gw.Is6() {
		family = netlink.FAMILY_V6
	}
	r := &netlink.Route{LinkIndex: index, Dst: ipNet(anywhere(family)), Gw: gw.AsSlice(), Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_BOOT}
	r.SetFlag(netlink.FLAG_ONLINK)
	return r
}

// check compares the pod's end with what configure makes.
func (n *podNS) check(p Attachment) (netlink.LinkAttrs, error) {
	end, err := n.h.LinkByName(p.IfName)
	if err != nil {
		return netlink.LinkAttrs{}, err
	}
	a := *end.Attrs()
	var errs []error
	miss := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.RawFlags&unix.IFF_UP == 0 {
		miss("it is down")
	}
	if p.MAC != (datapath.MAC{}) && mac(a.HardwareAddr) != p.MAC {
		miss("MAC address is %v instead of %v", a.HardwareAddr, p.MAC)
	}
	if p.MTU != 0 && a.MTU != p.MTU {
		miss("MTU is %d instead of %d", a.MTU, p.MTU)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return n.h.AddrList(byIndex(a.Index), netlink.FAMILY_ALL) })
	if err != nil {
		return a, err
	}
	have := map[netip.Prefix]bool{}
	for _, x := range addrs {
		if pfx, ok := prefix(x.IPNet); ok {
			have[pfx] = true
		}
	}
	for _, want := range p.Addrs {
		if !have[want] {
			miss("address %v is missing", want)
		}
	}
	for _, gw := range p.Gateways {
		if ok, err := n.routed(a.Index, gw); err != nil {
			return a, err
		} else if !ok {
			miss("default route via %v is missing", gw)
		}
		if have, err := n.neighbour(a.Index, gw); err != nil {
			return a, err
		} else if have != p.HostMAC && p.HostMAC != (datapath.MAC{}) {
			miss("permanent neighbour %v is %v instead of %v", gw, have, p.HostMAC)
		}
	}
	return a, errors.Join(errs...)
}

// neighbour is the MAC address of a gateway's permanent entry, zero if it has none.
func (n *podNS) neighbour(index int, gw netip.Addr) (datapath.MAC, error) {
	family := netlink.FAMILY_V4
	if gw.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := dump(func() ([]netlink.Neigh, error) { return n.h.NeighList(index, family) })
	if err != nil {
		return datapath.MAC{}, fmt.Errorf("list of neighbours: %w", err)
	}
	for _, e := range list {
		ip, _ := netip.AddrFromSlice(e.IP)
		if unmapped(family, ip) == gw && e.State&unix.NUD_PERMANENT != 0 {
			return mac(e.HardwareAddr), nil
		}
	}
	return datapath.MAC{}, nil
}

// routed tells whether a default route leads through a gateway.
func (n *podNS) routed(index int, gw netip.Addr) (bool, error) {
	family := netlink.FAMILY_V4
	if gw.Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return n.h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return false, fmt.Errorf("list of routes: %w", err)
	}
	for _, r := range routes {
		via, _ := netip.AddrFromSlice(r.Gw)
		dst, ok := prefix(r.Dst)
		if r.LinkIndex == index && unmapped(family, via) == gw && (!ok || dst.Bits() == 0) {
			return true, nil
		}
	}
	return false, nil
}
