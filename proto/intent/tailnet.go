package intent

import (
	"fmt"
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

// NeedsMesh tells whether only agents with CapabilityMesh know the carrier.
func (k Carrier) NeedsMesh() bool { return k.Meshed() || k.Backend == Tailnet }

// tailnet is the path of two members of a tailnet.
func (c Cluster) tailnet(a, b Peer) Path {
	local, in := a.InTailnet()
	remote, too := b.InTailnet()
	if !in || !too {
		name := a.Name
		if in {
			name = b.Name
		}
		return Path{Transport: NoPath, Why: name + " has no address of a tailnet: its agent runs without --vpn-auth, or is not logged in"}
	}
	p := Path{Transport: ByTailnet, Local: local, Remote: remote, MTU: min(local.MTU, remote.MTU), Why: "backend tailscale"}
	if c.MTU > 0 {
		p.MTU = min(p.MTU, c.MTU)
	}
	return p
}

// TailnetOverlap is a range of the fabric that overlaps a tailnet's.
type TailnetOverlap struct {
	Field         string // of ClusterConfig
	Prefix, Range netip.Prefix
}

// TailnetOverlaps are those among the cluster's ranges and the services'.
func TailnetOverlaps(cluster, services []netip.Prefix) []TailnetOverlap {
	var out []TailnetOverlap
	for _, list := range []struct {
		field string
		in    []netip.Prefix
	}{{"spec.clusterCIDRs", cluster}, {"spec.serviceCIDRs", services}} {
		for i, p := range list.in {
			for _, r := range TailnetRanges() {
				if p.Overlaps(r) {
					out = append(out, TailnetOverlap{fmt.Sprintf("%s[%d]", list.field, i), p, r})
				}
			}
		}
	}
	return out
}
