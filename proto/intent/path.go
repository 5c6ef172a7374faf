package intent

import (
	"fmt"
	"net/netip"
	"slices"
)

// Transport is how one pair of nodes reaches each other.
type Transport string

// The transports of this release.
const (
	Direct  Transport = "direct" // routed over a shared L2
	Overlay Transport = "vxlan"
	Sealed  Transport = "wireguard"
	NoPath  Transport = "none"
)

// VXLAN's cost in bytes per packet, by the underlay's family: outer Ethernet is
// the underlay's own, so outer IP + UDP 8 + VXLAN 8 + inner Ethernet 14
// (RFC 7348, section 5).
const (
	vxlanOverhead4 = 20 + 8 + 8 + 14
	vxlanOverhead6 = 40 + 8 + 8 + 14

	// MinMTU6 is what IPv6 needs of every link (RFC 8200, section 5).
	MinMTU6 = 1280
)

// Path is the way between two nodes, the same seen from both ends but for the
// exchange of Local and Remote.
type Path struct {
	Transport Transport
	Local     Underlay
	Remote    Underlay
	MTU       int // bytes of a packet between pods; at most Cluster.MTU where that is set
	Why       string
}

// Path says how a reaches b. The pair uses one underlay family: the first in
// the list of the lower-named node that both have.
func (c Cluster) Path(a, b Peer) Path {
	c = c.Toward(a.Name, b.Name)
	if c.Backend == None {
		return Path{Transport: NoPath, Why: "backend none: routes are somebody else's"}
	}
	if c.Backend == Tailnet {
		return c.tailnet(a, b)
	}
	local, remote, ok := pair(a, b)
	if !ok {
		return Path{Transport: NoPath, Why: "no family of underlay addresses that both have"}
	}
	p := Path{Local: local, Remote: remote, MTU: min(local.MTU, remote.MTU)}
	shared := SameLink(local, remote)
	switch {
	case c.Backend == HostGW && shared:
		p.Transport, p.Why = Direct, "host-gw: both are on "+local.Addr.Masked().String()
	case c.Backend == HostGW:
		p.Transport, p.MTU = NoPath, 0
		p.Why = fmt.Sprintf("host-gw needs a shared L2: %v and %v are not on one link", local.Addr, remote.Addr)
	case c.Backend == VXLAN && c.DirectRouting && shared:
		p.Transport, p.Why = Direct, "directRouting: both are on "+local.Addr.Masked().String()
	case c.Carrier().Meshed():
		p = c.first(p, a, b)
	default:
		p.Transport, p.Why = Overlay, "backend vxlan"
		p.MTU -= VXLANOverhead(local.Addr.Addr().Is4())
	}
	if c.MTU > 0 {
		p.MTU = min(p.MTU, c.MTU)
	}
	return p
}

// first is the way on which a pair begins that chooses its way, before its two ends
// have proved any.
func (c Cluster) first(p Path, a, b Peer) Path {
	w := c.Ways(a, b)
	is4 := p.Local.Addr.Addr().Is4()
	switch {
	case w.VXLAN.OK:
		p.Transport, p.Why = Overlay, w.VXLAN.Why
		p.MTU -= VXLANOverhead(is4)
	case w.WireGuard.OK:
		p.Transport, p.Why = Sealed, w.WireGuard.Why
		p.MTU -= WireGuardOverhead(is4)
	default:
		p.Transport, p.MTU, p.Why = NoPath, 0, w.WireGuard.Why
	}
	return p
}

// Link finds the two ends on the link of a direct path for packets of a family:
// addresses of that family which a and b have there. A route of one family through
// a next hop of the other exists for IPv4 only (RTA_VIA), so both families ask for
// an address of their own.
func (p Path) Link(a, b Peer, is4 bool) (local, remote Underlay, ok bool) {
	if p.Local.Addr.Addr().Is4() == is4 {
		return p.Local, p.Remote, true
	}
	for _, l := range a.Underlay {
		if l.Device != p.Local.Device || l.Addr.Addr().Is4() != is4 {
			continue
		}
		for _, r := range b.Underlay {
			if SameLink(l, r) {
				return l, r, true
			}
		}
	}
	return Underlay{}, Underlay{}, false
}

// Overhead is the largest cost in bytes of any transport that the backend
// allows, or that packets may come by, over an underlay of a family.
func (c Cluster) Overhead(is4 bool) int {
	most := 0
	if len(c.VXLANs()) > 0 {
		most = VXLANOverhead(is4)
	}
	if c.Meshed() {
		most = max(most, WireGuardOverhead(is4))
	}
	return most
}

// VXLANOverhead is VXLAN's cost in bytes over an underlay of a family.
func VXLANOverhead(is4 bool) int {
	if is4 {
		return vxlanOverhead4
	}
	return vxlanOverhead6
}

// PodMTU is the MTU in bytes for the devices of a node's pods: what fits
// through every transport allowed over every underlay address that it has, or
// Cluster.MTU where that is set. With a lease of IPv6 it is never below MinMTU6,
// because the kernel takes IPv6 off such a device; the routes carry what a pair
// can do. It is 0 while the node has no underlay address.
func (c Cluster) PodMTU(self Peer) int {
	mtu := c.MTU
	if mtu == 0 {
		for _, u := range self.Underlay {
			if m := u.MTU - c.Overhead(u.Addr.Addr().Is4()); mtu == 0 || m < mtu {
				mtu = m
			}
		}
	}
	if _, six := self.FabricOf(false); six && mtu > 0 {
		mtu = max(mtu, MinMTU6)
	}
	return mtu
}

// SameLink tells whether two addresses share a link's subnet.
func SameLink(a, b Underlay) bool {
	return a.Addr.Masked() == b.Addr.Masked() && a.Addr.Bits() < a.Addr.Addr().BitLen()
}

func pair(a, b Peer) (local, remote Underlay, ok bool) {
	first, other := a, b
	if b.Name < a.Name {
		first, other = b, a
	}
	for _, u := range first.Underlay {
		is4 := u.Addr.Addr().Is4()
		if v, found := other.UnderlayOf(is4); found {
			if first.Name == a.Name {
				return u, v, true
			}
			return v, u, true
		}
	}
	return Underlay{}, Underlay{}, false
}

// Families lists the families of prefixes in their first order of appearance:
// true is IPv4.
func Families(prefixes []netip.Prefix) []bool {
	var out []bool
	for _, p := range prefixes {
		is4 := p.Addr().Is4()
		if len(out) == 0 || (len(out) == 1 && out[0] != is4) {
			out = append(out, is4)
		}
	}
	return out
}

// InOrder returns prefixes sorted stably by the order of families; prefixes of
// other families come last.
func InOrder(families []bool, prefixes []netip.Prefix) []netip.Prefix {
	rank := func(p netip.Prefix) int {
		if i := slices.Index(families, p.Addr().Is4()); i >= 0 {
			return i
		}
		return len(families)
	}
	out := slices.Clone(prefixes)
	slices.SortStableFunc(out, func(a, b netip.Prefix) int { return rank(a) - rank(b) })
	return out
}
