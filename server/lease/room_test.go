package lease

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/server/kind"
)

func withRanges(list ...string) (out kind.ClusterConfigSpec) {
	for _, p := range list {
		out.ClusterCIDRs = append(out.ClusterCIDRs, netip.MustParsePrefix(p))
	}
	return out.WithDefaults()
}

func TestCheckRoom(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  kind.ClusterConfigSpec
		nodes int
		want  string
	}{
		{"one of each", withRanges("10.42.0.0/16", "fd42:42::/48"), 3, ""},
		{"just enough", withRanges("10.42.0.0/16", "fd42:42::/62"), 4, ""},
		{"two ranges together", withRanges("10.42.0.0/16", "fd42:42::/64", "fd43:42::/63"), 3, ""},
		{"nobody there", withRanges("10.42.0.0/16", "fd42:42::/64"), 0, ""},
		{"all there is", withRanges("10.42.0.0/16", "2000::/3"), 3, ""},
		{"a family that was there", withRanges("10.42.0.0/24"), 3, ""},
		{"one for three", withRanges("10.42.0.0/16", "fd42:42::/64"), 3, "ClusterConfig/default spec.clusterCIDRs[1]: fd42:42::/64 has room for 1 of the 3 nodes, with a /64 each; give a wider range, or a longer spec.nodeCIDRMaskSizeIPv6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := map[string]member{"reserved": {}}
			for i := range c.nodes {
				nodes[fmt.Sprint(i)] = member{joined: true}
			}
			got := ""
			if errs := checkRoom(withRanges("10.42.0.0/16"), c.spec, nodes); len(errs) > 0 {
				got = errs.Error()
			}
			if got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestCheckMasks(t *testing.T) {
	held := map[string]holding{
		"n1": {prefixes: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/24"), netip.MustParsePrefix("fd42:42::/64")}},
		"n2": {prefixes: []netip.Prefix{netip.MustParsePrefix("10.42.64.0/24"), netip.MustParsePrefix("fd42:42:0:1::/64")}},
	}
	before := withRanges("10.42.0.0/16", "fd42:42::/48")
	for _, c := range []struct {
		name   string
		after  kind.ClusterConfigSpec
		v4, v6 int
		want   string
	}{
		{"as it was", before, 24, 64, ""},
		{"longer", before, 26, 72, ""},
		{"shorter, and there is room", before, 17, 50, ""},
		{"all of it", before, 16, 64, "ClusterConfig/default spec.nodeCIDRMaskSizeIPv4: no /16 is free in [10.42.0.0/16] beside the leases there are: no further node would get one; give a longer one, or a further range first"},
		{"all of the other", before, 24, 48, "ClusterConfig/default spec.nodeCIDRMaskSizeIPv6: no /48 is free in [fd42:42::/48] beside the leases there are: no further node would get one; give a longer one, or a further range first"},
		{"with a further range", withRanges("10.42.0.0/16", "fd42:42::/48", "10.43.0.0/16"), 16, 64, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.after.NodeCIDRMaskSize4, c.after.NodeCIDRMaskSize6 = c.v4, c.v6
			got := ""
			if errs := checkMasks(before, c.after, held); len(errs) > 0 {
				got = errs.Error()
			}
			if got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
	if errs := checkMasks(withRanges("10.42.0.0/16"), before, held); len(errs) > 0 {
		t.Errorf("a new family: %v", errs)
	}
}
