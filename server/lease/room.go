package lease

import (
	"fmt"
	"net/netip"
	"slices"

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
