package kernel

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Host returns what there is of the node's own network, ours included.
func (k *Kernel) Host(ctx context.Context) (datapath.Host, error) {
	var h datapath.Host
	if err := ctx.Err(); err != nil {
		return h, err
	}
	links, err := dump(k.route.LinkList)
	if err != nil {
		return h, fmt.Errorf("kernel: list of devices: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		h.Links = append(h.Links, datapath.HostLink{
			Index: a.Index, Name: a.Name, Type: l.Type(), MTU: a.MTU, MAC: mac(a.HardwareAddr),
			Up: a.RawFlags&unix.IFF_UP != 0,
		})
	}
	slices.SortFunc(h.Links, func(a, b datapath.HostLink) int { return cmp.Compare(a.Index, b.Index) })
	if h.Addrs, err = k.hostAddrs(names); err != nil {
		return h, err
	}
	h.Defaults, err = k.hostDefaults(names)
	return h, err
}

func (k *Kernel) hostAddrs(names map[int]string) ([]datapath.HostAddr, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return k.route.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("kernel: list of addresses: %w", err)
	}
	slices.SortStableFunc(addrs, func(a, b netlink.Addr) int { return cmp.Compare(a.LinkIndex, b.LinkIndex) })
	var out []datapath.HostAddr
	for _, a := range addrs {
		p, ok := prefix(a.IPNet)
		if !ok {
			continue
		}
		is4 := p.Addr().Is4() // IFA_F_SECONDARY and IFA_F_TEMPORARY are one bit
		out = append(out, datapath.HostAddr{
			Link: names[a.LinkIndex], Prefix: p,
			Temporary:  !is4 && a.Flags&unix.IFA_F_TEMPORARY != 0,
			Secondary:  is4 && a.Flags&unix.IFA_F_SECONDARY != 0,
			Deprecated: a.Flags&unix.IFA_F_DEPRECATED != 0,
			Tentative:  a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0,
		})
	}
	slices.SortStableFunc(out, func(a, b datapath.HostAddr) int {
		return cmp.Or(cmp.Compare(indexIn(names, a.Link), indexIn(names, b.Link)), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	return out, nil
}

func indexIn(names map[int]string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return 0
}

// hostDefaults lists each next hop of each default route, best metric first. A
// default that only excludes (unreachable, blackhole) is none.
func (k *Kernel) hostDefaults(names map[int]string) ([]datapath.HostDefault, error) {
	var out []datapath.HostDefault
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := k.routes(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("kernel: list of routes: %w", err)
		}
		for _, r := range routes {
			if p, ok := prefix(r.Dst); ok && p.Bits() > 0 || r.Type != unix.RTN_UNICAST {
				continue
			}
			hops := r.MultiPath
			if len(hops) == 0 {
				hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
			}
			for _, hop := range hops {
				via, _ := netip.AddrFromSlice(hop.Gw)
				out = append(out, datapath.HostDefault{
					Link: names[hop.LinkIndex], Via: unmapped(family, via), Metric: uint32(r.Priority), Is4: family == netlink.FAMILY_V4,
				})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b datapath.HostDefault) int { return cmp.Compare(a.Metric, b.Metric) })
	return out, nil
}
