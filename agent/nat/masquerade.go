package nat

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
)

// masquerade gives pods the node's address towards the world. A chain of its own
// holds where the pod's address is good enough, so that other traffic of the
// node passes one rule a lease.
func (p *plan) masquerade(f family) {
	from := p.masqueraded(f)
	if len(from) == 0 {
		return
	}
	chain := "masq" + f.suffix
	p.add(datapath.Chain{Name: chain})
	for i, l := range from {
		p.rules(datapath.ChainMasquerade, ruleIndex+f.first+i, rule("", with(datapath.Jump, chain), is(f.saddr, l.String())))
	}
	var rules []datapath.Rule
	for _, d := range p.kept(f) {
		rules = append(rules, rule("", do(datapath.Return), is(f.daddr, d.String())))
	}
	rules = append(rules, rule("pods leave the cluster", do(datapath.Counter, datapath.Masquerade)))
	p.rules(chain, 0, rules...)
}

// masqueraded is what the cluster masquerades, of this node's own lease.
func (p *plan) masqueraded(f family) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range p.Lease {
		for _, m := range p.Cluster.Masquerade {
			if !l.Overlaps(m) || !f.has(l) {
				continue
			}
			if m.Bits() > l.Bits() {
				out = append(out, m)
			} else {
				out = append(out, l)
			}
		}
	}
	return distinct(out)
}

// kept lists the destinations that see a pod's own address.
func (p *plan) kept(f family) []netip.Prefix {
	var out []netip.Prefix
	for _, d := range slices.Concat(p.Cluster.CIDRs, p.Cluster.ServiceCIDRs, p.Cluster.NonMasquerade, f.never) {
		if f.has(d) {
			out = append(out, d)
		}
	}
	return distinct(out)
}

// distinct drops prefixes that lie in another of the list, and keeps the order.
func distinct(in []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for i, a := range in {
		covered := slices.ContainsFunc(in, func(b netip.Prefix) bool {
			return b.Bits() < a.Bits() && b.Contains(a.Addr())
		})
		if !covered && !slices.Contains(in[:i], a) {
			out = append(out, a)
		}
	}
	return out
}
