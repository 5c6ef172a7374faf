package overlay

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/intent"
)

// claim is one prefix of one node.
type claim struct {
	prefix netip.Prefix
	owner  int // index into the intent's peers
}

// lost finds the claims that cannot be routed because another node holds the
// very same prefix, and reports every overlap. It should never find one: the
// server gives no prefix twice. This node's own claim stands; among others the
// first by name does, so that all nodes agree. Of nested prefixes both stand,
// because the kernel prefers the longer.
func (p *plan) lost() map[claim]bool {
	claims := p.claims()
	var lost map[claim]bool
	var open []claim // prefixes that may hold the next one, from the widest
	for _, c := range claims {
		for len(open) > 0 && !open[len(open)-1].prefix.Contains(c.prefix.Addr()) {
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			outer := open[len(open)-1]
			p.overlap(outer, c)
			if outer.prefix == c.prefix {
				if lost == nil {
					lost = map[claim]bool{}
				}
				lost[c] = outer.owner != c.owner
				continue
			}
		}
		open = append(open, c)
	}
	return lost
}

// claims lists all prefixes by address, the widest first; of equal ones this
// node's own first, then by name.
func (p *plan) claims() []claim {
	out := make([]claim, 0, 2*len(p.Intent.Peers))
	self := -1
	for i, peer := range p.Intent.Peers {
		if peer.Name == p.Intent.Name {
			self = i
		}
		for _, l := range peer.Lease {
			out = append(out, claim{l, i})
		}
	}
	slices.SortFunc(out, func(a, b claim) int {
		if c := a.prefix.Addr().Compare(b.prefix.Addr()); c != 0 {
			return c
		}
		if a.prefix != b.prefix {
			return a.prefix.Bits() - b.prefix.Bits()
		}
		if a.owner == self || b.owner == self {
			return boolInt(b.owner == self) - boolInt(a.owner == self)
		}
		return a.owner - b.owner
	})
	return out
}

func (p *plan) overlap(outer, inner claim) {
	a, b := p.Intent.Peers[outer.owner].Name, p.Intent.Peers[inner.owner].Name
	const remedy = "weft get leases; then delete the wrong one and tell the authors, this must not happen"
	if outer.prefix == inner.prefix {
		p.problem(intent.PeerKey(b), remedy, "lease %v belongs to %s too; it is routed to %s", inner.prefix, a, a)
		return
	}
	p.problem(intent.PeerKey(b), remedy, "lease %v lies in lease %v of %s; it is routed to %s", inner.prefix, outer.prefix, a, b)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
