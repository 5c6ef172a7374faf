package egress

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// What a node says of itself counts: what it announces, its ports, its labels. That
// it has what others lease does not, nor that dials of others shall go through it.
func TestWhatNodesSay(t *testing.T) {
	a := newAtlas()
	a.take([]store.Event{
		leaseOf(t, "n2", "10.42.2.0/24"),
		event(t, kind.EgressPolicy, "home", nil, kind.EgressPolicySpec{NodeSelector: "site=home", OnlyListed: true}),
		event(t, kind.Report, "n1", nil, kind.ReportSpec{
			Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix("192.0.2.11/24")}},
			Announced: prefixes("10.244.1.0/24 10.42.2.0/25"), HostPorts: []uint16{9100},
			Labels: map[string]string{"site": "home", LabelDefaultRoute: "true"},
		}),
	})
	for _, c := range []struct{ addr, place, facts string }{
		{"10.244.1.5", "announced [n1]", "[10.244.1.0/24] [9100], 1 policy"},
		{"10.42.2.5", "lease [n2]", "[] [9100], 1 policy"},
	} {
		addr := netip.MustParseAddr(c.addr)
		if p := a.place(addr); fmt.Sprint(p.Kind, " ", p.Nodes) != c.place {
			t.Errorf("%s is %v, want %s", c.addr, p, c.place)
		}
		r := a.rules("n1", addr)
		if got := fmt.Sprintf("%v %v, %d policy", r.Facts.Announced, r.Facts.HostPorts, len(r.Policies)); got != c.facts {
			t.Errorf("%s by way of n1: %s, want %s", c.addr, got, c.facts)
		}
	}
	if got := a.defaultRoutes(); len(got) > 0 {
		t.Errorf("n1 made itself the default route: %v", got)
	}
}
