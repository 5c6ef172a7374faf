package mesh

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/intent"
)

// Most routers give the second of two nodes that use one local port another one outside,
// and nobody minds (RFC 4787, section 4.2.1). Some keep the port whatever happens: of two
// nodes with the same one they let out only the first, or take what is for the one to the
// other ("port overloading", the same section). There one of the two has to use another
// local port.

// Clash is a node behind the same router as another and with the same local port, that
// the router does not keep apart.
type Clash struct {
	With    string     // the other's name
	Router  netip.Addr // by which both are seen
	Port    uint16     // UDP
	Refused bool       // one of the two is not let out; else both are seen as one
}

// Of is the clash of a node in words.
func (c Clash) Of(node string) string {
	if c.Refused {
		return fmt.Sprintf("the router %v lets UDP %d of %s and %s out of one of them only", c.Router, c.Port, min(node, c.With), max(node, c.With))
	}
	return fmt.Sprintf("the router %v takes UDP %d of %s and %s for one", c.Router, c.Port, min(node, c.With), max(node, c.With))
}

// ClashOf finds with whom a node clashes, by what the nodes have reported: of several with
// the first by name.
func ClashOf(nodes []intent.Peer, name string) (out Clash, ok bool) {
	i := slices.IndexFunc(nodes, func(p intent.Peer) bool { return p.Name == name })
	if i < 0 || !slices.ContainsFunc(nodes[i].Candidates, func(c intent.Candidate) bool { return outside(&nodes[i], c) }) {
		return out, false
	}
	for j := range nodes {
		if j == i || ok && out.With < nodes[j].Name {
			continue
		}
		if c, there := clash(&nodes[i], &nodes[j]); there {
			out, ok = c, true
		}
	}
	return out, ok
}

// clash tells whether two nodes do, in a slot that both keep.
func clash(a, b *intent.Peer) (Clash, bool) {
	for _, s := range a.Slots {
		o, both := b.SlotOf(s.Slot)
		if !both || s.Leaving || o.Leaving || s.Port != o.Port {
			continue
		}
		for _, c := range a.Candidates {
			router := c.Addr.Addr()
			if c.Slot != s.Slot || !outside(a, c) || !behind(b, s.Slot, router) {
				continue
			}
			out := Clash{With: b.Name, Router: router, Port: s.Port}
			if out.Refused = refused(a, b, s, router) || refused(b, a, s, router); out.Refused {
				return out, true
			}
			if c.Source == intent.FromEcho && echoed(b, s.Slot, c.Addr) {
				return out, true
			}
		}
	}
	return Clash{}, false
}

// outside tells whether a candidate is of a router before the node: what servers have
// seen, and none of the node's own addresses.
func outside(p *intent.Peer, c intent.Candidate) bool {
	return (c.Source == intent.FromEcho || c.Source == intent.FromServer) &&
		!slices.ContainsFunc(p.Candidates, func(o intent.Candidate) bool {
			return o.Source == intent.FromInterface && o.Addr.Addr() == c.Addr.Addr()
		})
}

// behind tells whether a node is behind a router.
func behind(p *intent.Peer, slot uint8, router netip.Addr) bool {
	return slices.ContainsFunc(p.Candidates, func(c intent.Candidate) bool {
		return c.Slot == slot && c.Addr.Addr() == router && outside(p, c)
	})
}

// echoed tells whether the servers' echo has seen a node's device as an address and port.
func echoed(p *intent.Peer, slot uint8, as netip.AddrPort) bool {
	return slices.Contains(p.Candidates, intent.Candidate{Addr: as, Slot: slot, Source: intent.FromEcho})
}

// refused tells whether nothing of a node comes out of the router by which the other goes
// out with the very port that both have.
func refused(p, other *intent.Peer, s intent.Slot, router netip.Addr) bool {
	return p.NATOf(router.Is4()) == intent.NATBlocked && echoed(other, s.Slot, netip.AddrPortFrom(router, s.Port))
}

// ShiftOf is how far a node goes that has to use other ports than the cluster's: as its name
// says, or to the next beside ports of which free says that they cannot be had. 0: there is
// none.
func ShiftOf(name string, base uint16, free func(port uint16) bool) uint8 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails (hash.Hash)
	for i := range uint32(intent.PortShifts) {
		shift := uint8((h.Sum32()+i)%intent.PortShifts) + 1
		all := true
		for slot := range uint8(intent.Slots) {
			all = all && free(intent.WireGuardPort(base, shift, slot))
		}
		if all {
			return shift
		}
	}
	return 0
}
