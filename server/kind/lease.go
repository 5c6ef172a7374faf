package kind

import (
	"fmt"
	"slices"

	"github.com/weft-net/weft/ipam"
)

// MaxLeasePrefixes bounds the prefixes of one node.
const MaxLeasePrefixes = 32

// Validate checks the spec of a lease by itself. The error is FieldErrors.
func (s LeaseSpec) Validate(name string) error {
	f := &findings{object: Lease + "/" + name}
	s.validate(f, name)
	return f.err()
}

func (s LeaseSpec) validate(f *findings, name string) {
	if s.Node != name {
		f.add("spec.node", "%s is not the lease's name; a node's lease is named as the node: accepted is %s", quote(s.Node), name)
	}
	if len(s.Prefixes) == 0 {
		f.add("spec.prefixes", "is empty; give one a family, such as 10.42.7.0/24; to release a lease, delete it")
	}
	if len(s.Prefixes) > MaxLeasePrefixes {
		f.add("spec.prefixes", "has %d prefixes; at most %d are accepted", len(s.Prefixes), MaxLeasePrefixes)
		return
	}
	for i, p := range s.Draining {
		if !slices.Contains(s.Prefixes, p) {
			f.add(fmt.Sprintf("spec.draining[%d]", i), "%v is none of the lease's prefixes; accepted: of %v", p, s.Prefixes)
		}
	}
	for i, p := range s.Prefixes {
		field := fmt.Sprintf("spec.prefixes[%d]", i)
		if !checkPrefix(f, field, p, true) {
			continue
		}
		longest := longestMask6
		if p.Addr().Is4() {
			longest = longestMask4
		}
		if p.Bits() > longest {
			f.add(field, "%v is too small for a node; give a /%d or shorter", p, longest)
		}
		if a, b, found := ipam.Overlap(s.Prefixes[:i+1]); found && b == p {
			f.add(field, "%v overlaps %v of the same lease", p, a)
		}
	}
}
