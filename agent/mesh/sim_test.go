package mesh

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// world is a network in virtual time: nodes at sites, behind routers of each kind, and
// servers that relay. Machines run in it against each other.
type world struct {
	t       testing.TB
	now     time.Time
	calls   callQueue
	seq     int
	rand    *rand.Rand
	sites   map[string]*site
	nodes   map[string]*simNode
	names   []string
	relays  map[string]bool // servers, and whether they carry
	cut     map[[2]string]string
	hole    map[[2]string]int // bytes above which packets of a pair are lost silently
	loss    float64
	every   time.Duration // between pings of a busy node to each other
	latency func(a, b string) time.Duration
	cluster intent.Cluster
	wires   []string
}

type call struct {
	at  time.Time
	seq int
	f   func()
}

type callQueue []call

func (q callQueue) Len() int { return len(q) }
func (q callQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q callQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *callQueue) Push(x any)   { *q = append(*q, x.(call)) }
func (q *callQueue) Pop() any {
	old := *q
	c := old[len(old)-1]
	*q = old[:len(old)-1]
	return c
}

var epoch = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, seed uint64) *world {
	return &world{
		t: t, now: epoch, every: 10 * time.Millisecond, rand: rand.New(rand.NewPCG(seed, seed)), sites: map[string]*site{}, nodes: map[string]*simNode{},
		relays: map[string]bool{}, cut: map[[2]string]string{}, hole: map[[2]string]int{},
		latency: func(string, string) time.Duration { return 10 * time.Millisecond },
		cluster: intent.Cluster{
			CIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, Backend: intent.Auto, VNI: 4096, VXLANPort: 8472,
			Encryption: intent.EncryptUntrusted, Topology: intent.TopologyFull, WireGuardPort: 51820,
		},
	}
}

func (w *world) after(d time.Duration, f func()) {
	w.seq++
	heap.Push(&w.calls, call{w.now.Add(d), w.seq, f})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.calls) > 0 && !w.calls[0].at.After(end) {
		c := heap.Pop(&w.calls).(call)
		w.now = c.at
		c.f()
	}
	w.now = end
}

// until lets time pass until a condition holds, and says how much did.
func (w *world) until(d time.Duration, ok func() bool) time.Duration {
	w.t.Helper()
	start := w.now
	for end := w.now.Add(d); !ok(); {
		if !w.now.Before(end) {
			w.t.Fatalf("not after %v:\n%s", d, w)
		}
		w.run(5 * time.Millisecond)
	}
	return w.now.Sub(start)
}

// pairs calls f for each ordered pair.
func (w *world) pairs(f func(a, b *simNode)) {
	for _, x := range w.names {
		for _, y := range w.names {
			if x != y {
				f(w.nodes[x], w.nodes[y])
			}
		}
	}
}

// connected tells whether every pair's packets arrive, right now, both ways.
func (w *world) connected() bool {
	ok := true
	w.pairs(func(a, b *simNode) { ok = ok && !a.lastReply[b.name].Before(w.now.Add(-500*time.Millisecond)) })
	return ok
}

// String is each pair's rung.
func (w *world) String() (out string) {
	w.pairs(func(a, b *simNode) {
		c := a.m.Choices()[b.name]
		out += fmt.Sprintf("%s->%s %v slot %d mtu %d wg %v\n", a.name, b.name, c.Rung, c.Slot, c.MTU, a.devices[c.Slot][b.name])
	})
	return out
}

func (w *world) rung(a, b string) Rung { return w.nodes[a].m.Choices()[b].Rung }

// tell gives all nodes the intent as it is.
func (w *world) tell() {
	for _, name := range w.names {
		w.nodes[name].set()
	}
}

// join has a node start: the others and itself learn of it a little later, each at its
// own time, and again once its relays are connected.
func (w *world) join(n *simNode) {
	n.away, n.mute, n.m = false, true, New(n.name, w.now)
	n.report()
	spread := func() {
		for _, name := range w.names {
			w.after(time.Duration(w.rand.IntN(300))*time.Millisecond, w.nodes[name].set)
		}
	}
	spread()
	w.after(time.Duration(w.rand.IntN(700))*time.Millisecond, func() {
		n.mute = false
		n.report()
		spread()
	})
}

// sever cuts a pair: "direct" is frames on the LAN, "vxlan" its tunnel, "udp" all of
// WireGuard's port, "wg" WireGuard's own datagrams only; "all" everything but relays.
func (w *world) sever(a, b, what string) {
	w.cut[[2]string{a, b}], w.cut[[2]string{b, a}] = what, what
}

func (w *world) isCut(a, b, what string) bool {
	c := w.cut[[2]string{a, b}]
	return c == what || c == "all" || c == "udp" && what == "wg"
}

// site is a LAN behind a router.
type site struct {
	w      *world
	name   string
	kind   string // public, easy, hard, clash, open, blocked
	outer  netip.Addr
	flows  []*flow
	states map[state]time.Time // unsolicited packets that a clashing router remembers
	port   uint16
}

// state is what came unasked: from where, and to which port of the router.
type state struct {
	from netip.AddrPort
	to   uint16
}

// flow is a mapping of a router.
type flow struct {
	inner netip.AddrPort
	outer uint16
	to    netip.AddrPort // the only peer, of a hard one; zero: any
	peers map[netip.AddrPort]time.Time
	used  time.Time
}

const mapping = 30 * time.Second

// out translates a packet that leaves the site.
func (s *site) out(from, to netip.AddrPort) (netip.AddrPort, bool) {
	switch s.kind {
	case "public":
		return from, true
	case "blocked":
		return netip.AddrPort{}, false
	}
	s.flows = slices.DeleteFunc(s.flows, func(f *flow) bool { return s.w.now.Sub(f.used) > mapping })
	perPeer := s.kind == "hard" || s.kind == "clash"
	for _, f := range s.flows {
		if f.inner == from && (!perPeer || f.to == to) {
			f.used, f.peers[to] = s.w.now, s.w.now
			return netip.AddrPortFrom(s.outer, f.outer), true
		}
	}
	f := &flow{inner: from, outer: s.free(from, to), peers: map[netip.AddrPort]time.Time{to: s.w.now}, used: s.w.now}
	if perPeer {
		f.to = to
	}
	s.flows = append(s.flows, f)
	return netip.AddrPortFrom(s.outer, f.outer), true
}

// free is the outer port of a new mapping: the inner one where that can be. A clashing
// router does as netfilter: it gives the port of the newest mapping that the source has
// already, if that can be (net/netfilter/nf_nat_core.c, find_appropriate_src), so that
// one that had to be another spreads to all who are met afterwards.
func (s *site) free(from, to netip.AddrPort) uint16 {
	taken := func(p uint16) bool {
		if at, ok := s.states[state{to, p}]; ok && s.w.now.Sub(at) <= mapping {
			return true
		}
		return slices.ContainsFunc(s.flows, func(f *flow) bool {
			return f.outer == p && (s.kind != "clash" || f.to == to || f.inner != from)
		})
	}
	if s.kind == "clash" {
		for _, f := range slices.Backward(s.flows) {
			if f.inner != from {
				continue
			}
			if !taken(f.outer) {
				return f.outer
			}
			break
		}
	}
	if s.kind != "hard" && !taken(from.Port()) {
		return from.Port()
	}
	for {
		s.port += 1 + uint16(s.w.rand.IntN(50))
		if s.port > 1024 && !taken(s.port) {
			return s.port
		}
	}
}

// in finds whom a packet from outside is for.
func (s *site) in(from netip.AddrPort, to netip.AddrPort) (netip.AddrPort, bool) {
	for _, f := range s.flows {
		if f.outer != to.Port() || s.w.now.Sub(f.used) > mapping || f.to.IsValid() && f.to != from {
			continue
		}
		if at, ok := f.peers[from]; s.kind == "open" || ok && s.w.now.Sub(at) <= mapping {
			return f.inner, true
		}
	}
	if s.kind == "clash" {
		s.states[state{from, to.Port()}] = s.w.now
	}
	return netip.AddrPort{}, false
}

func (w *world) site(name, kind string) *site {
	s := &site{w: w, name: name, kind: kind, outer: netip.AddrFrom4([4]byte{198, 51, 100, byte(len(w.sites) + 1)}), states: map[state]time.Time{}, port: 20000}
	w.sites[name] = s
	return s
}

// datagram sends one from a WireGuard port of a node.
func (w *world) datagram(n *simNode, slot uint8, to netip.AddrPort, ttl int, what string, size int, got func(at *simNode, slot uint8, from netip.AddrPort)) {
	from := netip.AddrPortFrom(n.addr, 51820+uint16(slot))
	source := from
	local := w.on(n.site, to)
	if local == nil {
		var ok bool
		if source, ok = n.site.out(from, to); !ok || ttl > 0 && ttl < 4 {
			return
		}
	}
	if w.rand.Float64() < w.loss {
		return
	}
	d := w.latency(n.name, "")
	if local != nil {
		d = 200 * time.Microsecond
	}
	w.after(d, func() {
		at := local
		if at == nil {
			at, to = w.arrive(source, to)
		}
		if at == nil || at.down || w.isCut(n.name, at.name, "udp") || what == "wg" && w.isCut(n.name, at.name, "wg") {
			return
		}
		if h := w.hole[[2]string{n.name, at.name}]; h > 0 && size > h {
			return
		}
		for slot := range uint8(intent.Slots) {
			if to.Port() == 51820+uint16(slot) {
				got(at, slot, source)
			}
		}
	})
}

// on is a node of a site by its address there.
func (w *world) on(s *site, to netip.AddrPort) *simNode {
	for _, name := range w.names {
		if n := w.nodes[name]; n.site == s && n.addr == to.Addr() {
			return n
		}
	}
	return nil
}

// arrive finds the node that a packet in the open reaches.
func (w *world) arrive(from, to netip.AddrPort) (*simNode, netip.AddrPort) {
	for _, name := range w.names {
		n := w.nodes[name]
		if n.site.kind == "public" && n.addr == to.Addr() {
			return n, to
		}
	}
	for _, s := range w.sites {
		if s.kind == "public" || s.outer != to.Addr() {
			continue
		}
		if inner, ok := s.in(from, to); ok {
			return w.on(s, inner), inner
		}
	}
	return nil, to
}
