package steward

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/server/kind"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

// use reads "10.42.1.0/24 230 of 254, 10.42.9.0/24 closed".
func use(text string) kind.PoolsObservation {
	o := kind.PoolsObservation{Epoch: "e", Revision: 7}
	for _, part := range strings.Split(text, ", ") {
		var u kind.PoolUse
		var p string
		if n, _ := fmt.Sscanf(part, "%s %d of %d", &p, &u.Used, &u.Usable); n == 0 {
			continue
		}
		u.Prefix, u.Closed = netip.MustParsePrefix(p), strings.HasSuffix(part, "closed")
		if u.Usable == 0 {
			u.Usable = 254
		}
		o.Pools = append(o.Pools, u)
	}
	return o
}

func TestPlan(t *testing.T) {
	const dual = "10.42.0.0/16 fd42:42::/48"
	for _, c := range []struct{ name, ranges, lease, draining, use, empty, want string }{
		{"nobody said anything", dual, "10.42.1.0/24 fd42:42::/64", "", "", "", ""},
		{"room", dual, "10.42.1.0/24", "", "10.42.1.0/24 200 of 254", "", ""},
		{"nearly full", dual, "10.42.1.0/24", "", "10.42.1.0/24 229 of 254", "", "grow IPv4"},
		{"a small one nearly full", dual, "10.42.1.0/29", "", "10.42.1.0/29 5 of 6", "", "grow IPv4"},
		{"a small one with room", dual, "10.42.1.0/29", "", "10.42.1.0/29 4 of 6", "", ""},
		{"nearly full, of a lease that is another by now", dual, "10.42.1.0/24 10.42.2.0/24", "", "10.42.1.0/24 250 of 254", "", ""},
		{"both nearly full", dual, "10.42.1.0/24 10.42.2.0/24", "", "10.42.1.0/24 254 of 254, 10.42.2.0/24 220 of 254", "", "grow IPv4"},
		{"the further one empty, not for long", dual, "10.42.1.0/24 10.42.2.0/24", "", "10.42.1.0/24 3 of 254, 10.42.2.0/24", "10.42.2.0/24 9m", ""},
		{"the further one empty for long", dual, "10.42.1.0/24 10.42.2.0/24", "", "10.42.1.0/24 3 of 254, 10.42.2.0/24", "10.42.2.0/24 10m", "drain 10.42.2.0/24"},
		{"the further one empty, the first is not roomy", dual, "10.42.1.0/24 10.42.2.0/24", "", "10.42.1.0/24 200 of 254, 10.42.2.0/24", "10.42.2.0/24 1h", ""},
		{"the first one empty", dual, "10.42.1.0/24 10.42.2.0/24", "", "10.42.1.0/24, 10.42.2.0/24 3 of 254", "10.42.1.0/24 1h", ""},
		{"all that it has drains", dual, "10.42.1.0/24", "10.42.1.0/24", "10.42.1.0/24 3 of 254", "", "grow IPv4"},
		{"drains and is used", dual, "10.42.1.0/24 10.42.2.0/24", "10.42.1.0/24", "10.42.1.0/24 3 of 254 closed, 10.42.2.0/24", "", ""},
		{"drains and is empty", dual, "10.42.1.0/24 10.42.2.0/24", "10.42.1.0/24", "10.42.1.0/24 0 of 254 closed, 10.42.2.0/24", "", "yield 10.42.1.0/24"},
		{"drains, and is not closed yet", dual, "10.42.1.0/24 10.42.2.0/24", "10.42.1.0/24", "10.42.1.0/24 0 of 254, 10.42.2.0/24", "", ""},
		{"was closed, and drains no more", dual, "10.42.1.0/24 10.42.2.0/24", "", "10.42.1.0/24 0 of 254 closed, 10.42.2.0/24", "", ""},
		{"a family that is gone", "10.42.0.0/16", "10.42.1.0/24 fd42:42::/64", "", "", "", "drain fd42:42::/64"},
		{"a family that is gone, closed", "10.42.0.0/16", "10.42.1.0/24 fd42:42::/64", "fd42:42::/64", "10.42.1.0/24, fd42:42::/64 0 of 254 closed", "", "yield fd42:42::/64"},
	} {
		l := Lease{Spec: kind.LeaseSpec{Prefixes: prefixes(c.lease), Draining: prefixes(c.draining)}, Revision: 7, Use: use(c.use), Known: c.use != ""}
		if p, age, ok := strings.Cut(c.empty, " "); ok {
			d, err := time.ParseDuration(age)
			if err != nil {
				t.Fatal(err)
			}
			l.Empty = map[netip.Prefix]time.Time{netip.MustParsePrefix(p): now.Add(-d)}
		}
		var got []string
		for _, s := range Plan(kind.ClusterConfigSpec{ClusterCIDRs: prefixes(c.ranges)}, l, now, 10*time.Minute) {
			switch {
			case s.Verb != Grow:
				got = append(got, fmt.Sprint(s.Verb, " ", s.Prefix))
			case s.Is4:
				got = append(got, "grow IPv4")
			default:
				got = append(got, "grow IPv6")
			}
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
	}
}

// A word from before the lease was written counts for nothing.
func TestPlanWaitsForTheNode(t *testing.T) {
	l := Lease{Spec: kind.LeaseSpec{Prefixes: prefixes("10.42.1.0/24 10.42.2.0/24"), Draining: prefixes("10.42.1.0/24")}, Revision: 8, Use: use("10.42.1.0/24 0 of 254 closed, 10.42.2.0/24"), Known: true}
	spec := kind.ClusterConfigSpec{ClusterCIDRs: prefixes("10.42.0.0/16")}
	if got := Plan(spec, l, now, time.Minute); len(got) != 0 {
		t.Error(got)
	}
	l.Revision = 7
	if got := Plan(spec, l, now, time.Minute); len(got) != 1 {
		t.Error(got)
	}
}
