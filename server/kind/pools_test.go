package kind

import (
	"math"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// A prefix is closed only where what is left is not nearly full: else the next look
// would give another.
func TestPoolsDoNotFlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := PoolUse{Usable: rapid.OneOf(rapid.Int64Range(1, 300), rapid.Just(int64(math.MaxInt64))).Draw(t, "usable")}
		u.Used = rapid.Int64Range(0, u.Usable).Draw(t, "used")
		if u.Roomy() && u.NearlyFull() {
			t.Fatalf("%+v is roomy and nearly full", u)
		}
		if u.Used == u.Usable && !u.NearlyFull() {
			t.Fatalf("%+v is full, and not nearly", u)
		}
	})
}

func TestMatters(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		name  string
		pools []PoolUse
		want  bool
	}{
		{"nothing", nil, false},
		{"room", []PoolUse{{Prefix: p("10.42.1.0/24"), Usable: 254, Used: 100}, {Prefix: p("fd42::/64"), Usable: math.MaxInt64}}, false},
		{"nearly full", []PoolUse{{Prefix: p("10.42.1.0/24"), Usable: 254, Used: 230}}, true},
		{"two of a family", []PoolUse{{Prefix: p("10.42.1.0/24"), Usable: 254}, {Prefix: p("10.42.2.0/24"), Usable: 254}}, true},
		{"closed", []PoolUse{{Prefix: p("10.42.1.0/24"), Usable: 254, Closed: true}}, true},
		{"two of IPv6", []PoolUse{{Prefix: p("fd42::/64"), Usable: math.MaxInt64, Used: 5}, {Prefix: p("fd43::/64"), Usable: math.MaxInt64}}, true},
	} {
		if got := (PoolsObservation{Pools: c.pools}).Matters(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
