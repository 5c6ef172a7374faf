package near

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestName(t *testing.T) {
	names := []string{"mtu", "vni", "clusterCIDRs", "serviceCIDRs", "cluster-cidr", "backend"}
	for typed, want := range map[string]string{
		"clusterCidrs": "clusterCIDRs", "cluster-cird": "cluster-cidr", "MTU": "mtu", "mtus": "mtu", "bakend": "backend",
		"x": "", "": "", "encryption": "", "mut": "", "clusterCIDR": "clusterCIDRs", strings.Repeat("a", 1<<20): "",
	} {
		if got, ok := Name(typed, names); got != want || ok != (want != "") {
			t.Errorf("%.20s: %q, want %q", typed, got, want)
		}
	}
}

// A distance is none only of the same, the same from both sides, never more than the
// longer name, and by no detour shorter.
func TestDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[abc]{0,6}`)
		a, b, c := name.Draw(t, "a"), name.Draw(t, "b"), name.Draw(t, "c")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) || d < max(len(a), len(b))-min(len(a), len(b)) ||
			distance(a, c) > d+distance(b, c) {
			t.Errorf("%q %q %q: %d", a, b, c, d)
		}
	})
}
