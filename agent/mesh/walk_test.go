package mesh

import (
	"flag"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// walker breaks and mends a world, and watches what must hold all the time.
type walker struct {
	*world
	rt     *rapid.T
	broken time.Time // when anything was last changed
	dark   map[[2]string]time.Time
}

// darkest is how long a pair may send into a dead way that has one that works: a way
// that dies is left within a second and a half, but another may die in the meantime, or
// a handshake may have to be begun anew, which WireGuard does every 5 s.
const darkest = 8 * time.Second

func newWalker(rt *rapid.T, t *testing.T) *walker {
	w := newWorld(t, rapid.Uint64().Draw(rt, "seed"))
	w.relays["s1"], w.relays["s2"] = true, true
	w.every = 40 * time.Millisecond
	for i := range 3 {
		kind := rapid.SampledFrom(kinds).Draw(rt, "router")
		name := fmt.Sprintf("x%d", i)
		w.site(name, kind)
		w.node(string(rune('a'+i)), name, name).busy = true
	}
	n := w.node("d", "x0", "x0") // a's neighbour
	n.busy = true
	w.tell()
	return &walker{world: w, rt: rt, dark: map[[2]string]time.Time{}}
}

// step does one thing to the world.
func (w *walker) step() {
	a := rapid.SampledFrom(w.names).Draw(w.rt, "a")
	b := rapid.SampledFrom(w.names).Draw(w.rt, "b")
	n := w.nodes[a]
	switch what := rapid.SampledFrom([]string{"cut", "heal", "relay", "back", "kill", "start", "roam", "hole", "loss", "wait"}).Draw(w.rt, "what"); what {
	case "cut":
		w.sever(a, b, rapid.SampledFrom([]string{"direct", "vxlan", "udp", "wg", "all"}).Draw(w.rt, "which"))
	case "heal":
		w.sever(a, b, "")
	case "relay":
		w.relays["s1"] = false
		w.tell()
	case "back":
		w.relays["s1"] = true
		w.tell()
	case "kill":
		n.dead = true
	case "start":
		w.start(n)
	case "roam":
		w.roam(n)
	case "hole":
		w.hole[[2]string{a, b}] = rapid.SampledFrom([]int{0, 1300, 1450}).Draw(w.rt, "above")
	case "loss":
		w.loss = rapid.SampledFrom([]float64{0, 0.01}).Draw(w.rt, "loss")
	}
	w.broken = w.now
	w.watch(time.Duration(rapid.IntRange(100, 12000).Draw(w.rt, "ms")) * time.Millisecond)
}

// start begins the agent of a node anew.
func (w *walker) start(n *simNode) {
	if !n.dead {
		return
	}
	n.dead, n.adopted = false, map[string]Over{}
	for peer, c := range n.applied {
		n.adopted[peer] = c.Over()
	}
	n.m = New(n.name, w.now)
	for s := range n.devices {
		for _, d := range n.devices[s] {
			d.told = Device{}
		}
	}
	n.set()
}

// roam gives the router of a node's site another address.
func (w *walker) roam(n *simNode) {
	if n.site.kind == "public" || n.site.kind == "blocked" {
		return
	}
	b := n.site.outer.As4()
	b[2]++
	n.site.outer, n.site.flows = netip.AddrFrom4(b), nil
	for _, name := range w.names {
		if o := w.nodes[name]; o.site == n.site {
			o.report()
		}
	}
	w.after(500*time.Millisecond, w.tell)
}

// watch lets time pass and checks.
func (w *walker) watch(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.run(200 * time.Millisecond)
		w.pairs(w.check)
	}
}

// walks bounds how many there are, where nobody has asked for a number: each is a
// quarter of an hour of a world.
func walks(t *testing.T, n int) {
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

func (w *walker) check(a, b *simNode) {
	key := [2]string{a.name, b.name}
	if a.dead || b.dead || w.now.Sub(a.lastReply[b.name]) < w.every+300*time.Millisecond {
		delete(w.dark, key)
	} else if _, ok := w.dark[key]; !ok {
		w.dark[key] = w.now
	}
	if since, ok := w.dark[key]; ok && w.now.Sub(since) > darkest && w.now.Sub(w.broken) > darkest {
		w.rt.Fatalf("%s -> %s is dark since %v, although a relay carries:\n%s", a.name, b.name, since.Sub(epoch), w)
	}
	if a.site != b.site && !w.rung(a.name, b.name).Sealed() {
		w.rt.Fatalf("%s -> %s of different sites stands on %v", a.name, b.name, w.rung(a.name, b.name))
	}
}

// settle heals everything, and sees both ends agree on the best way, and stay.
func (w *walker) settle() {
	clear(w.cut)
	clear(w.hole)
	w.loss, w.relays["s1"], w.every = 0, true, 2*time.Second
	for _, name := range w.names {
		w.start(w.nodes[name])
	}
	w.tell()
	w.broken = w.now
	w.watch(11 * time.Minute)
	w.pairs(func(a, b *simNode) {
		x, y := w.rung(a.name, b.name), w.rung(b.name, a.name)
		if x != y {
			w.rt.Fatalf("%s and %s differ: %v and %v", a.name, b.name, x, y)
		}
		// Two nodes that share a router which preserves ports cannot both have theirs.
		crowded := w.sites["x0"].kind == "clash" && (a.site == w.sites["x0"] || b.site == w.sites["x0"])
		if punchable(a.site.kind, b.site.kind) && a.site != b.site && !crowded && x > Punched {
			w.rt.Fatalf("%s -> %s stands on %v behind %s and %s:\n%s", a.name, b.name, x, a.site.kind, b.site.kind, w)
		}
		a.changes[b.name], a.outers, a.inners = 0, 0, 0
	})
	w.watch(5 * time.Minute)
	w.pairs(func(a, b *simNode) {
		if n := a.changes[b.name]; n > 0 {
			w.rt.Fatalf("%s -> %s changed its rung %d times in peace", a.name, b.name, n)
		}
		if n := a.outers + a.inners; n > 300*len(w.names)*6 {
			w.rt.Fatalf("%s sent %d probes in five minutes of peace", a.name, n)
		}
	})
}

func TestWalk(t *testing.T) {
	walks(t, 12)
	rapid.Check(t, func(rt *rapid.T) {
		w := newWalker(rt, t)
		w.watch(3 * time.Second)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			w.step()
		}
		w.settle()
	})
}
