package tailscale

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/intent"
)

// withoutExits drops the default routes, by which a node offers to be an exit: the
// program keeps them by a flag of their own (--advertise-exit-node).
func withoutExits(in []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(in), func(p netip.Prefix) bool { return p.Bits() == 0 })
}

// covered tells whether a prefix lies in one of a list, exits excepted.
func covered(list []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(list, func(c netip.Prefix) bool {
		return c.Bits() > 0 && c.Bits() <= p.Bits() && c.Contains(p.Addr())
	})
}

// sorted is a set of prefixes: masked, in order, each once.
func sorted(in []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range in {
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// less is a without b.
func less(a, b []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(a), func(p netip.Prefix) bool { return slices.Contains(b, p) })
}

// member tells whether an address is one that a tailnet gives to its members.
func member(a netip.Addr) bool {
	return slices.ContainsFunc(intent.TailnetRanges(), func(r netip.Prefix) bool { return r.Contains(a) })
}
