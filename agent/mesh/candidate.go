package mesh

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// sources, the more telling first: of an address that is known twice the first counts.
var sources = []intent.Source{intent.FromExternal, intent.FromInterface, intent.FromEcho, intent.FromServer, intent.FromPeer}

// candidates lists where the tunnel may be sent to, each once.
func (t *tunnel) candidates() []trail {
	p := t.pair
	var out []trail
	if !p.meets() {
		out = t.addresses()
	}
	for _, s := range p.m.in.Relays {
		if slices.Contains(p.peer.Relays, s) {
			out = append(out, trail{via: Via{Server: s}, told: true})
		}
	}
	for _, n := range p.gateways() {
		out = append(out, trail{via: Via{Node: n}, told: true})
	}
	return out
}

// addresses are those of the peer's candidates for the slot that can be sent to from
// here.
func (t *tunnel) addresses() []trail {
	p := t.pair
	list := slices.Clone(p.peer.Candidates)
	slices.SortStableFunc(list, func(a, b intent.Candidate) int {
		return cmp.Compare(slices.Index(sources, a.Source), slices.Index(sources, b.Source))
	})
	var out []trail
	for _, c := range list {
		if c.Slot != t.slot || !p.m.sendable(c.Addr) || len(out) >= maxTrails-maxHeard-maxNodes {
			continue
		}
		if slices.ContainsFunc(out, func(r trail) bool { return r.addr == c.Addr }) {
			continue
		}
		out = append(out, trail{addr: c.Addr, source: c.Source, told: true})
	}
	return out
}

// sendable tells whether an address can be a peer's: never one of this machine's, nor
// one inside the fabric, nor of a family that this node has no address of.
func (m *Machine) sendable(a netip.AddrPort) bool {
	ip := a.Addr()
	if !a.IsValid() || a.Port() == 0 || ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return false
	}
	for _, c := range m.in.Intent.Cluster.CIDRs {
		if c.Contains(ip) {
			return false
		}
	}
	for _, c := range m.me.Candidates {
		if c.Source == intent.FromInterface && c.Addr.Addr() == ip {
			return false
		}
	}
	return m.family(ip.Is4())
}

// family tells whether the node has an address of one; where nothing is known, all
// are tried.
func (m *Machine) family(is4 bool) bool {
	if len(m.me.Underlay) == 0 && len(m.me.Candidates) == 0 {
		return true
	}
	_, ok := m.me.UnderlayOf(is4)
	return ok || slices.ContainsFunc(m.me.Candidates, func(c intent.Candidate) bool { return c.Addr.Addr().Is4() == is4 })
}

// meets tells whether the pair has no way of its own, but meets over gateways: with
// that topology, nodes of different sites of which neither is a gateway.
func (p *pair) meets() bool {
	if p.m.in.Intent.Cluster.Topology != intent.TopologyGateways || p.m.me.Relaying() || p.peer.Relaying() {
		return false
	}
	a, b := p.m.me.Site(), p.peer.Site()
	return (a == "" || a != b) && len(p.gateways()) > 0
}

// gateways are the nodes over which the pair can meet, those of the two ends' sites
// first; of the others, each pair takes different ones, and both ends the same.
func (p *pair) gateways() []string {
	type gateway struct {
		name string
		far  bool
		hash uint32
	}
	var list []gateway
	for _, g := range p.m.relaying {
		if g.Name == p.m.self || g.Name == p.name {
			continue
		}
		near := g.Site() != "" && (g.Site() == p.m.me.Site() || g.Site() == p.peer.Site())
		list = append(list, gateway{g.Name, !near, rendezvous(min(p.m.self, p.name), max(p.m.self, p.name), g.Name)})
	}
	slices.SortFunc(list, func(a, b gateway) int {
		if a.far != b.far {
			if a.far {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, g := range list[:min(len(list), maxNodes)] {
		out = append(out, g.name)
	}
	return out
}

func rendezvous(names ...string) uint32 {
	h := fnv.New32a()
	for _, n := range names {
		_, _ = h.Write([]byte(n)) // never fails (hash.Hash)
		_, _ = h.Write([]byte{0})
	}
	return h.Sum32()
}

// renew makes the tunnel's trails those of the intent. An address that is told no more
// stays while it is in use or still answers, and so does a node that relays no more: it
// carries on for a while. A server that is gone carries nothing.
func (t *tunnel) renew(now time.Time) (fresh bool) {
	want := t.candidates()
	t.trails = slices.DeleteFunc(t.trails, func(r *trail) bool {
		i := slices.IndexFunc(want, func(w trail) bool { return w.is(r.addr, r.via) })
		if i >= 0 {
			r.told, r.source = true, want[i].source
			want = slices.Delete(want, i, i+1)
			return false
		}
		r.told = false
		_, there := t.pair.m.in.Intent.Peer(r.via.Node)
		gone := r.relayed() && !there || !r.up && r != t.cur
		if gone && r == t.cur {
			t.cur = nil
		}
		if gone && r == t.nom.trail {
			t.nom = nomination{}
		}
		return gone
	})
	for i := range want {
		r := want[i]
		r.fresh = true
		t.trails = append(t.trails, &r)
		fresh = true
	}
	return fresh
}

// lend adds a relay that the peer uses and the intent does not tell of yet.
func (t *tunnel) lend(via Via) *trail {
	m := t.pair.m
	known := slices.Contains(m.in.Relays, via.Server) || m.relays(via.Node)
	if !known || len(t.trails) >= maxTrails {
		return nil
	}
	r := &trail{via: via}
	t.trails = append(t.trails, r)
	return r
}

// relays tells whether a node carries packets of other pairs.
func (m *Machine) relays(name string) bool {
	return slices.ContainsFunc(m.relaying, func(g intent.Peer) bool { return g.Name == name })
}

// learn returns the trail of a packet that came, making one if there is none. The one
// that was silent for longest makes room.
func (t *tunnel) learn(addr netip.AddrPort, via Via, now time.Time) *trail {
	for _, r := range t.trails {
		if r.is(addr, via) {
			return r
		}
	}
	if via != (Via{}) {
		return t.lend(via)
	}
	if t.pair.meets() || !t.pair.m.sendable(addr) {
		return nil
	}
	heard, oldest := 0, -1
	for i, r := range t.trails {
		if r.told || r.relayed() {
			continue
		}
		heard++
		if r != t.cur && r != t.nom.trail && (oldest < 0 || r.heard.Before(t.trails[oldest].heard)) {
			oldest = i
		}
	}
	if heard >= maxHeard {
		if oldest < 0 {
			return nil
		}
		t.trails = slices.Delete(t.trails, oldest, oldest+1)
	}
	r := &trail{addr: addr, source: intent.FromPeer, heard: now}
	t.trails = append(t.trails, r)
	return r
}
