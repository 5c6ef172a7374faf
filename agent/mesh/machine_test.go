package mesh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// kinds are the routers of the table.
var kinds = []string{"public", "easy", "hard", "clash", "blocked"}

// punchable tells whether a pair behind two kinds of router can meet without a relay.
func punchable(a, b string) bool {
	switch {
	case a == "blocked" || b == "blocked":
		return false
	case a == "public" || b == "public":
		return true
	}
	return a != "hard" && b != "hard"
}

// matrix is a world with two nodes behind routers of each kind, each at a site of its own.
func matrix(t testing.TB) *world {
	w := newWorld(t, 1)
	w.relays["s1"] = true
	for _, k := range kinds {
		for i := range 2 {
			name := fmt.Sprintf("%s%d", k, i+1)
			w.site(name, k)
			w.node(name, name, name).busy = true
		}
	}
	return w
}

func TestEveryPairOfRouters(t *testing.T) {
	w := matrix(t)
	w.tell()
	took := w.until(time.Second, w.connected)
	t.Logf("all connected after %v", took)
	w.run(20 * time.Second)
	w.best(t)
}

// Nodes start one after the other, and learn of each other and of relays at different
// times: whoever is first must not spoil a router for the other. Routers stand in the
// open, or inside of a larger private network.
func TestEveryPairOfRoutersInAnyOrder(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := matrix(t)
			w.rand = rand.New(rand.NewPCG(seed, seed))
			for i, name := range w.names {
				n := w.nodes[name]
				if seed%2 == 1 && n.site.kind != "public" {
					n.site.outer = netip.AddrFrom4([4]byte{10, 99, 4, byte(i)})
				}
				n.away, n.busy = true, false
				w.after(time.Duration(w.rand.IntN(5000))*time.Millisecond, func() { w.join(n) })
			}
			w.run(30 * time.Second)
			w.best(t)
		})
	}
}

// best sees every pair on the best rung that its routers permit.
func (w *world) best(t *testing.T) {
	t.Helper()
	w.pairs(func(a, b *simNode) {
		r := w.rung(a.name, b.name)
		if punchable(a.site.kind, b.site.kind) != (r == WireGuard || r == Punched) {
			t.Errorf("%s -> %s stands on %v", a.name, b.name, r)
		}
		if q := w.rung(b.name, a.name); q != r {
			t.Errorf("%s and %s differ: %v and %v", a.name, b.name, r, q)
		}
	})
}
