package intent

import (
	"net/netip"
	"slices"
)

// Tailnet is the backend whose pairs travel by the tailnet that their nodes are
// members of (weft-agent --vpn-auth): each node advertises its leases there, and
// tailscaled routes and encrypts.
const Tailnet Backend = "tailscale"

// ByTailnet is the transport of such a pair.
const ByTailnet Transport = "tailnet"

// TailnetRanges are those from which a tailnet gives its members their addresses:
// shared address space (RFC 6598), and Tailscale's own range of unique local
// addresses. Headscale takes parts of them.
func TailnetRanges() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0}), 48),
	}
}

// InTailnet is the node's address in a tailnet, if it has reported one.
func (p Peer) InTailnet() (Underlay, bool) {
	for _, u := range p.Underlay {
		if slices.ContainsFunc(TailnetRanges(), func(r netip.Prefix) bool { return r.Contains(u.Addr.Addr()) }) {
			return u, true
		}
	}
	return Underlay{}, false
}

// Tailnetted tells whether packets of the fabric may travel by a tailnet: it sends, or
// receives as well, by it.
func (c Cluster) Tailnetted() bool {
	return slices.ContainsFunc(append([]Carrier{c.Carrier()}, c.Receive...), func(k Carrier) bool { return k.Backend == Tailnet })
}
