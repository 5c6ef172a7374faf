package lease

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/server/kind"
)

func TestCheckRoom(t *testing.T) {
	ranges := func(list ...string) (out kind.ClusterConfigSpec) {
		for _, p := range list {
			out.ClusterCIDRs = append(out.ClusterCIDRs, netip.MustParsePrefix(p))
		}
		return out.WithDefaults()
	}
	for _, c := range []struct {
		name  string
		spec  kind.ClusterConfigSpec
		nodes int
		want  string
	}{
		{"one of each", ranges("10.42.0.0/16", "fd42:42::/48"), 3, ""},
		{"just enough", ranges("10.42.0.0/16", "fd42:42::/62"), 4, ""},
		{"two ranges together", ranges("10.42.0.0/16", "fd42:42::/64", "fd43:42::/63"), 3, ""},
		{"nobody there", ranges("10.42.0.0/16", "fd42:42::/64"), 0, ""},
		{"all there is", ranges("10.42.0.0/16", "2000::/3"), 3, ""},
		{"a family that was there", ranges("10.42.0.0/24"), 3, ""},
		{"one for three", ranges("10.42.0.0/16", "fd42:42::/64"), 3, "ClusterConfig/default spec.clusterCIDRs[1]: fd42:42::/64 has room for 1 of the 3 nodes, with a /64 each; give a wider range, or a longer spec.nodeCIDRMaskSizeIPv6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := map[string]member{"reserved": {}}
			for i := range c.nodes {
				nodes[fmt.Sprint(i)] = member{joined: true}
			}
			got := ""
			if errs := checkRoom(ranges("10.42.0.0/16"), c.spec, nodes); len(errs) > 0 {
				got = errs.Error()
			}
			if got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}
