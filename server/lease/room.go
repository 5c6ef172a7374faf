package lease

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/server/kind"
)

// checkRoom refuses a family that is new and too small for the nodes there are:
// those that come last would get nothing of it.
func checkRoom(before, spec kind.ClusterConfigSpec, nodes map[string]member) kind.FieldErrors {
	var joined int64
	for _, m := range nodes {
		if m.joined {
			joined++
		}
	}
	var errs kind.FieldErrors
	for _, is4 := range []bool{true, false} {
		of := func(p netip.Prefix) bool { return p.Addr().Is4() == is4 }
		first := slices.IndexFunc(spec.ClusterCIDRs, of)
		if first < 0 || slices.ContainsFunc(before.ClusterCIDRs, of) {
			continue
		}
		bits := spec.MaskSize(is4)
		room := int64(0)
		for _, p := range spec.ClusterCIDRs {
			if of(p) && room < joined { // so that it cannot overflow
				room += ipam.Count(p, bits)
			}
		}
		if room >= joined {
			continue
		}
		mask := "nodeCIDRMaskSizeIPv6"
		if is4 {
			mask = "nodeCIDRMaskSizeIPv4"
		}
		errs = append(errs, kind.FieldError{
			Object: kind.ClusterConfig + "/" + kind.DefaultName, Field: fmt.Sprintf("spec.clusterCIDRs[%d]", first),
			Problem: fmt.Sprintf("%v has room for %d of the %d nodes, with a /%d each; give a wider range, or a longer spec.%s", spec.ClusterCIDRs[first], room, joined, bits, mask),
		})
	}
	return errs
}

// checkMasks refuses a new length of prefix for which none is free: no further node
// would get one.
func checkMasks(before, spec kind.ClusterConfigSpec, held map[string]holding) kind.FieldErrors {
	var errs kind.FieldErrors
	for _, m := range []struct {
		is4   bool
		field string
	}{{true, "spec.nodeCIDRMaskSizeIPv4"}, {false, "spec.nodeCIDRMaskSizeIPv6"}} {
		of := func(p netip.Prefix) bool { return p.Addr().Is4() == m.is4 }
		bits := spec.MaskSize(m.is4)
		if bits == before.MaskSize(m.is4) || !slices.ContainsFunc(before.ClusterCIDRs, of) {
			continue
		}
		ranges := slices.DeleteFunc(slices.Clone(spec.ClusterCIDRs), func(p netip.Prefix) bool { return !of(p) })
		if !slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return hasRoom(r, bits, held) }) {
			errs = append(errs, kind.FieldError{
				Object: kind.ClusterConfig + "/" + kind.DefaultName, Field: m.field,
				Problem: fmt.Sprintf("no /%d is free in %v beside the leases there are: no further node would get one; give a longer one, or a further range first", bits, ranges),
			})
		}
	}
	return errs
}

// hasRoom tells whether a prefix of a length is free in a range.
func hasRoom(r netip.Prefix, bits int, held map[string]holding) bool {
	s := ipam.NewSpace(r)
	for _, h := range held {
		for _, p := range h.prefixes {
			if ipam.Contains(r, p) && s.Take(p) != nil {
				return true // leases that overlap: not for this check to judge
			}
		}
	}
	_, err := s.Carve(bits, time.Time{})
	return err == nil
}
