package mesh

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// A router that holds the port for what came unasked, from an earlier life of either
// agent, forgets it while both ends are silent, and then lets them meet.
func TestRouterThatRemembers(t *testing.T) {
	for _, kind := range []string{"clash", "easy"} {
		t.Run(kind, func(t *testing.T) {
			w, a, b := two(t, "clash", kind, "s1")
			x, y := w.sites["x"], w.sites["y"]
			x.flows, x.states[state{netip.AddrPortFrom(y.outer, 51820), 51820}] = nil, w.now
			w.run(30 * time.Second)
			if got := w.rung("a", "b"); got != ByServer {
				t.Fatalf("met on %v although the router remembers", got)
			}
			clear(a.lost)
			clear(b.lost)
			w.until(40*time.Second, func() bool { return w.rung("a", "b") == Punched && w.rung("b", "a") == Punched })
			if n := a.lost["b"] + b.lost["a"]; n > 0 {
				t.Errorf("%d pings lost", n)
			}
		})
	}
}

// A router that starts anew has lost what it had let out, and what the far end still
// sends is unasked.
func TestRouterThatStarts(t *testing.T) {
	for _, kind := range []string{"easy", "clash"} {
		t.Run(kind, func(t *testing.T) {
			w, a, b := two(t, kind, "clash", "s1")
			w.until(30*time.Second, func() bool { return w.rung("a", "b") == Punched && w.rung("b", "a") == Punched })
			w.sites["x"].flows, w.sites["y"].flows = nil, nil
			if got := max(w.dark(a, b, 4*time.Second), w.dark(b, a, time.Second)); got > 1500*time.Millisecond {
				t.Errorf("dark for %v", got)
			}
			w.until(2*time.Minute, func() bool { return w.rung("a", "b") == Punched && w.rung("b", "a") == Punched })
		})
	}
}

// While a node was away, peers still sent to its router, which holds the port for each of
// them: it is met at another port, by them and by all who are met afterwards.
func TestNodeThatWasAway(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			w.relays["s1"] = true
			for _, k := range []string{"public", "public", "easy", "clash", "clash"} {
				name := fmt.Sprintf("%s%d", k, len(w.names))
				w.site(name, k)
				w.node(name, name, name)
			}
			a := w.nodes["clash4"]
			a.away, a.down = true, true
			w.tell()
			w.run(20 * time.Second)
			w.pairs(func(b, c *simNode) {
				if c == a && w.rand.IntN(2) == 0 {
					a.site.states[state{netip.AddrPortFrom(b.outer(), 51820), 51820}] = w.now
				}
			})
			a.site.flows, a.down = nil, false
			w.join(a)
			w.until(3*time.Minute, func() bool {
				ok := true
				w.pairs(func(a, b *simNode) { r := w.rung(a.name, b.name); ok = ok && (r == WireGuard || r == Punched) })
				return ok
			})
		})
	}
}

// outer is the node's address in the open.
func (n *simNode) outer() netip.Addr {
	if n.site.kind == "public" {
		return n.addr
	}
	return n.site.outer
}

// A relay that is gone for a moment does not have anybody send to a router that may not
// be open.
func TestRelayThatBlinks(t *testing.T) {
	for _, kind := range []string{"public", "easy", "clash"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, 3)
			w.relays["s1"] = true
			w.site("x", "clash")
			w.site("y", kind)
			a, b := w.node("a", "x", "x"), w.node("b", "y", "y")
			a.dead = true // it opens nothing
			b.sees = func(p Probe) {
				if p.To.Addr() == a.site.outer && p.TTL == 0 {
					t.Errorf("sends %+v after %v", p, w.now.Sub(epoch))
				}
			}
			for range 3 {
				w.tell()
				w.run(3 * time.Second)
				w.relays["s1"] = !w.relays["s1"]
			}
		})
	}
}

// Nothing that reaches the far router goes out before both ends have opened theirs, nor
// for a while after they have in vain.
func TestSilence(t *testing.T) {
	w, a, b := two(t, "clash", "hard", "s1")
	var sent []time.Duration
	for _, n := range []*simNode{a, b} {
		n.sees = func(p Probe) {
			if p.Via == (Via{}) && p.TTL == 0 && !p.To.Addr().IsPrivate() {
				sent = append(sent, w.now.Sub(epoch))
			}
		}
	}
	w.run(5 * time.Minute)
	if len(sent) == 0 {
		t.Fatal("nothing was tried")
	}
	for i := range sent[1:] {
		if gap := sent[i+1] - sent[i]; gap > time.Second && gap < 31*time.Second {
			t.Errorf("silent for %v only, from %v on", gap, sent[i])
		}
	}
}
