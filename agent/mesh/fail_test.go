package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// two is a world of two busy nodes.
func two(t testing.TB, kindA, kindB string, relays ...string) (w *world, a, b *simNode) {
	w = newWorld(t, 7)
	for _, r := range relays {
		w.relays[r] = true
	}
	w.site("x", kindA)
	w.site("y", kindB)
	a, b = w.node("a", "x", "x"), w.node("b", "y", "y")
	a.busy, b.busy = true, true
	w.tell()
	return w, a, b
}

// neighbours is a world of two busy nodes on one LAN of one site.
func neighbours(t testing.TB, relays ...string) (w *world, a, b *simNode) {
	w = newWorld(t, 7)
	for _, r := range relays {
		w.relays[r] = true
	}
	w.site("x", "easy")
	a, b = w.node("a", "x", "x"), w.node("b", "x", "x")
	a.busy, b.busy = true, true
	w.tell()
	return w, a, b
}

// dark is the longest time without an answer to a ping of a, while f's world goes on.
func (w *world) dark(a, b *simNode, d time.Duration) (most time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.run(10 * time.Millisecond) {
		most = max(most, w.now.Sub(a.lastReply[b.name]))
	}
	return most
}

func TestWayThatDies(t *testing.T) {
	const bound = 1500 * time.Millisecond
	for _, c := range []struct {
		name       string
		kind       string
		cut        string
		from, then Rung
	}{
		{"direct: the LAN drops frames, VXLAN gets through", "lan", "direct", Direct, VXLAN},
		{"all of the LAN: WireGuard's relay", "lan", "all", Direct, ByServer},
		{"UDP between two public nodes: the relay", "public", "udp", WireGuard, ByServer},
		{"a punched way: the relay", "easy", "udp", Punched, ByServer},
		{"WireGuard's own datagrams only, probes still pass: the relay", "public", "wg", WireGuard, ByServer},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w *world
			var a, b *simNode
			if c.kind == "lan" {
				w, a, b = neighbours(t, "s1")
			} else {
				w, a, b = two(t, c.kind, c.kind, "s1")
			}
			w.run(20 * time.Second)
			if got := w.rung("a", "b"); got != c.from {
				t.Fatalf("before: %v, not %v", got, c.from)
			}
			w.sever("a", "b", c.cut)
			if c.cut == "all" {
				w.cut[[2]string{"a", "b"}] = "all"
			}
			if got := max(w.dark(a, b, 4*time.Second), w.dark(b, a, time.Second)); got > bound {
				t.Errorf("dark for %v, more than %v:\n%s", got, bound, w)
			}
			w.run(10 * time.Second)
			if x, y := w.rung("a", "b"), w.rung("b", "a"); x != c.then || y != c.then {
				t.Errorf("after: %v and %v, not %v", x, y, c.then)
			}
			w.sever("a", "b", "")
			clear(a.lost)
			clear(b.lost)
			w.run(10 * time.Minute)
			if x, y := w.rung("a", "b"), w.rung("b", "a"); x != c.from || y != c.from {
				t.Errorf("healed: %v and %v, not %v", x, y, c.from)
			}
			if a.lost["b"]+b.lost["a"] > 0 {
				t.Errorf("%d pings lost on the way back", a.lost["b"]+b.lost["a"])
			}
		})
	}
}

func TestRelayThatDies(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprintf("the agents hear of it: %v", told), func(t *testing.T) {
			w, a, b := two(t, "blocked", "hard", "s1", "s2")
			w.run(5 * time.Second)
			via := a.m.Choices()["b"].Peers[0].Via
			if via.Server == "" {
				t.Fatalf("not relayed by a server: %v", via)
			}
			w.relays[via.Server] = false
			if told {
				w.tell()
			} else {
				// Connected still, as far as anybody knows.
				w.after(time.Minute, w.tell)
			}
			if got := w.dark(a, b, 5*time.Second); got > 1500*time.Millisecond {
				t.Errorf("dark for %v:\n%s", got, w)
			}
			_ = b
		})
	}
}

func TestNodeThatReturns(t *testing.T) {
	w, a, b := two(t, "public", "easy", "s1")
	w.run(10 * time.Second)
	b.down = true
	w.run(10 * time.Minute)
	if got := a.outers + a.inners; got > 3000 {
		t.Errorf("%d probes in ten minutes toward a node that is off", got)
	}
	b.down = false
	b.set()
	w.until(6*time.Second, func() bool { return a.lastReply["b"].After(w.now.Add(-100 * time.Millisecond)) })
}

// An agent that is killed leaves the way as it is; the one that starts adopts it.
func TestAgentThatDies(t *testing.T) {
	for _, kind := range []string{"public", "easy", "blocked"} {
		t.Run(kind, func(t *testing.T) {
			w, a, b := two(t, kind, "easy", "s1")
			w.hole[[2]string{"a", "b"}] = 1400
			w.run(20 * time.Second)
			rung, mtu := w.rung("a", "b"), a.m.Choices()["b"].MTU
			endpoint := a.devices[0]["b"].endpoint
			a.dead = true
			clear(a.lost)
			clear(b.lost)
			w.run(30 * time.Second)
			if got := w.rung("b", "a"); got != rung {
				t.Errorf("the peer of a dead agent went from %v to %v", rung, got)
			}
			a.dead, a.adopted = false, map[string]Over{"b": a.applied["b"].Over()}
			a.m, a.mtus = New("a", w.now), map[string]int{"b": mtu}
			a.devices[0]["b"].told = Device{}
			a.set()
			if c := a.m.Choices()["b"]; !c.Rung.Sealed() || c.Peers[0].Endpoint.IsValid() || c.Peers[0].Relayed {
				t.Errorf("the first choice overwrites what is there: %+v", c)
			}
			if got := a.m.Choices()["b"].MTU; got != mtu {
				t.Errorf("mtu %d became %d", mtu, got)
			}
			w.run(30 * time.Second)
			if got := a.devices[0]["b"].endpoint; got != endpoint {
				t.Errorf("endpoint %v became %v", endpoint, got)
			}
			if got := w.rung("a", "b"); got != rung {
				t.Errorf("rung %v became %v", rung, got)
			}
			// A relay's end is in the agent: what goes over one is lost without it.
			if rung < ByNode && a.lost["b"]+b.lost["a"] > 0 {
				t.Errorf("%d pings lost", a.lost["b"]+b.lost["a"])
			}
		})
	}
}

// A node whose address changes is found again by its own packets: WireGuard roams.
func TestNodeThatRoams(t *testing.T) {
	w, a, b := two(t, "public", "easy", "s1")
	w.run(20 * time.Second)
	clear(a.lost)
	clear(b.lost)
	w.sites["y"].outer = w.sites["x"].outer.Next().Next().Next()
	w.sites["y"].flows = nil
	b.report()
	w.after(300*time.Millisecond, w.tell) // debounced, and over the server
	w.run(30 * time.Second)
	if got := a.lost["b"] + b.lost["a"]; got > 6 {
		t.Errorf("%d pings lost; only those under way may be", got)
	}
	if x, y := w.rung("a", "b"), w.rung("b", "a"); x != WireGuard || y != WireGuard {
		t.Errorf("after: %v and %v:\n%s", x, y, w)
	}
}

// Nodes behind one router reach each other on their LAN, and others through different
// ports of it.
func TestSharedRouter(t *testing.T) {
	w := newWorld(t, 3)
	w.relays["s1"] = true
	w.site("x", "easy")
	w.site("y", "clash")
	for _, n := range []string{"a", "b", "c"} {
		w.node(n, map[string]string{"a": "x", "b": "x", "c": "y"}[n], n).busy = true
	}
	w.tell()
	w.until(time.Second, w.connected)
	w.run(30 * time.Second)
	for pair, want := range map[[2]string]Rung{{"a", "b"}: WireGuard, {"a", "c"}: Punched, {"b", "c"}: Punched} {
		if got := w.rung(pair[0], pair[1]); got != want {
			t.Errorf("%v stands on %v, not %v", pair, got, want)
		}
	}
	if k := w.nodes["a"].m.Choices()["b"].Peers[0].Keepalive; k != 0 {
		t.Errorf("keepalive %v on one LAN", k)
	}
	if k := w.nodes["a"].m.Choices()["c"].Peers[0].Keepalive; k != keepalive {
		t.Errorf("keepalive %v from behind a router", k)
	}
}

// An address of one site that is another node's at the other is no way: who answers
// must prove to be the peer.
func TestOverlappingLANs(t *testing.T) {
	w := newWorld(t, 3)
	w.relays["s1"] = true
	w.site("x", "easy")
	w.site("y", "easy")
	a, c := w.node("a", "x", "x"), w.node("c", "x", "x")
	b := w.node("b", "y", "y")
	b.addr = c.addr
	b.self.Underlay[0].Addr = c.self.Underlay[0].Addr
	b.report()
	a.busy, b.busy, c.busy = true, true, true
	w.tell()
	w.until(time.Second, w.connected)
	w.run(20 * time.Second)
	if got := w.rung("a", "b"); got != Punched {
		t.Errorf("a -> b stands on %v:\n%s", got, w)
	}
	if got := w.rung("a", "c"); got != Direct {
		t.Errorf("a -> c stands on %v:\n%s", got, w)
	}
}

func TestKeepaliveOnlyBehindRouters(t *testing.T) {
	w, a, b := two(t, "public", "easy", "s1")
	w.run(20 * time.Second)
	if k := a.m.Choices()["b"].Peers[0].Keepalive; k != 0 {
		t.Errorf("the public end keeps alive each %v", k)
	}
	if k := b.m.Choices()["a"].Peers[0].Keepalive; k != keepalive {
		t.Errorf("the end behind a router keeps alive each %v", k)
	}
}

// With gateways, nodes of different sites meet over nodes that relay, and go on when
// one of those dies.
func TestSiteGateways(t *testing.T) {
	w := newWorld(t, 3)
	w.cluster.Topology = intent.TopologyGateways
	w.site("x", "easy")
	w.site("y", "hard")
	w.site("dc", "public")
	a, b := w.node("a", "x", "x"), w.node("b", "y", "y")
	for _, g := range []string{"g1", "g2"} {
		w.node(g, "dc", map[string]string{"g1": "x", "g2": "y"}[g]).self.Labels[intent.RelayLabel] = "true"
	}
	a.busy, b.busy = true, true
	w.tell()
	w.run(10 * time.Second)
	if got := w.rung("a", "b"); got != ByNode {
		t.Fatalf("a -> b stands on %v:\n%s", got, w)
	}
	via := a.m.Choices()["b"].Peers[0].Via.Node
	e, _ := a.m.Explain("b", w.now)
	if v := e.Rungs[4]; v.Result != resultUse || v.Why != "no better way answers" {
		t.Errorf("the rung in use is explained by %+v", v)
	}
	w.nodes[via].down = true
	if got := w.dark(a, b, 5*time.Second); got > 1500*time.Millisecond {
		t.Errorf("dark for %v after %s died:\n%s", got, via, w)
	}
}

// A node that is to relay no more is left once another way is proved, and nothing is lost:
// for a server, or for a node of which the two ends hear at the same moment.
func TestRelayingEnds(t *testing.T) {
	for _, servers := range [][]string{{"s1"}, nil} {
		w, a, b := two(t, "hard", "hard", servers...)
		w.site("dc", "public")
		label := func(g, value string) {
			w.nodes[g].self.Labels = map[string]string{intent.SiteLabel: "dc", intent.RelayLabel: value}
		}
		for _, g := range []string{"g1", "g2"} {
			w.node(g, "dc", "dc")
		}
		label("g1", "true")
		w.tell()
		w.run(20 * time.Second)
		if via := a.m.Choices()["b"].Peers[0].Via.Node; via != "g1" {
			t.Fatalf("goes over %q:\n%s", via, w)
		}
		clear(a.lost)
		clear(b.lost)
		label("g1", "false")
		label("g2", fmt.Sprint(servers == nil))
		a.set()
		w.run(300 * time.Millisecond)
		w.tell()
		w.run(5 * time.Second)
		if via := a.m.Choices()["b"].Peers[0].Via; via.Node == "g1" || (via.Node == "g2") != (servers == nil) {
			t.Errorf("goes over %v:\n%s", via, w)
		}
		if n := a.lost["b"] + b.lost["a"]; n > 0 {
			t.Errorf("servers %v: %d pings lost", servers, n)
		}
	}
}

// A topology that changes moves pairs that stand on a path of their own to gateways, and
// back, and nothing is lost.
func TestTopologyChanges(t *testing.T) {
	w := newWorld(t, 4)
	for _, s := range []string{"x", "y", "dc"} {
		w.site(s, "public")
	}
	a, b := w.node("a", "x", "x"), w.node("b", "y", "y")
	for _, g := range []string{"g1", "g2"} {
		w.node(g, "dc", map[string]string{"g1": "x", "g2": "y"}[g]).self.Labels[intent.RelayLabel] = "true"
	}
	a.busy, b.busy = true, true
	w.tell()
	w.run(10 * time.Second)
	for _, step := range []struct {
		topology intent.Topology
		rung     Rung
	}{{intent.TopologyFull, WireGuard}, {intent.TopologyGateways, ByNode}, {intent.TopologyFull, WireGuard}} {
		w.cluster.Topology = step.topology
		w.tell()
		clear(a.lost)
		clear(b.lost)
		w.run(20 * time.Second)
		if ab, ba := w.rung("a", "b"), w.rung("b", "a"); ab != step.rung || ba != step.rung {
			t.Errorf("%s: a -> b stands on %v, b -> a on %v:\n%s", step.topology, ab, ba, w)
		}
		if n := a.lost["b"] + b.lost["a"]; n > 0 {
			t.Errorf("%s: %d pings lost", step.topology, n)
		}
	}
}

// Where one end flees from a way first, and has the other come along, the other does not
// go back at once: it need not have missed anything itself. Behind a firewall that knows
// WireGuard, and lets probes pass, a pair tries the way less and less often.
func TestPeerThatFled(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(t, seed)
		w.relays["s1"] = true
		w.site("x", "public")
		w.site("y", "easy")
		a, b := w.node("a", "x", "x"), w.node("b", "y", "y")
		a.busy, b.busy = seed%2 == 0, true
		w.sever("a", "b", "wg")
		w.tell()
		w.run(time.Minute)
		// There and back after 5, 5, 10 and 20 s.
		if x, y := a.changes["b"], b.changes["a"]; x > 1+2*4 || y > 1+2*4 {
			t.Errorf("seed %d: a has changed its way %d times in a minute, b %d times:\n%s", seed, x, y, w)
		}
	}
}
