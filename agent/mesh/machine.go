package mesh

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Machine chooses for all pairs of one node. It is used by one goroutine at a time;
// what Choices returned may be read by any.
type Machine struct {
	self     string
	in       Input
	me       intent.Peer
	relaying []intent.Peer // nodes that carry packets of other pairs, sorted by name
	pairs    map[string]*pair
	sets     uint64                  // how often Set was called
	made     [intent.Slots]time.Time // since when the node's key of a slot is known

	now    time.Time // of the last call
	due    queue
	lookAt time.Time
	looked time.Time // when the WireGuard devices were last read
	acts   []Action
	ids    uint64
	budget budget

	choices map[string]Choice
	stale   map[string]struct{} // peers whose choice differs from choices
}

// New returns a Machine of a node that knows nothing yet.
func New(self string, now time.Time) *Machine {
	return &Machine{
		self: self, pairs: map[string]*pair{}, choices: map[string]Choice{}, stale: map[string]struct{}{},
		// Ids of a node that starts again are others than before: an answer to one of
		// those proves nothing now.
		ids: uint64(now.UnixNano()),
	}
}

// Set takes what is known now. It costs a look at each peer, and work for those that
// have changed.
func (m *Machine) Set(in Input, now time.Time) {
	m.now = now
	me, ok := in.Intent.Self()
	was, old := m.in, m.me
	m.in, m.me = in, me
	m.age(old, now)
	var relaying []intent.Peer
	for i := range in.Intent.Peers {
		if p := &in.Intent.Peers[i]; p.Relaying() {
			relaying = append(relaying, *p)
		}
	}
	all := !me.Equal(old) || !in.Intent.Cluster.Equal(was.Intent.Cluster) || !slices.Equal(in.Relays, was.Relays) ||
		!slices.EqualFunc(relaying, m.relaying, intent.Peer.Equal)
	m.relaying = relaying
	m.sets++
	if ok && in.Intent.Cluster.Meshed() {
		for i := range in.Intent.Peers {
			if peer := &in.Intent.Peers[i]; peer.Name != m.self {
				m.setPeer(peer, all, was.Preshared[peer.Name] != in.Preshared[peer.Name], now)
			}
		}
	}
	for name, p := range m.pairs {
		if p.set != m.sets {
			m.due.drop(p)
			delete(m.pairs, name)
			m.stale[name] = struct{}{}
		}
	}
	if moved(old, me) && len(was.Intent.Peers) > 0 {
		if !slices.Equal(outer(old), outer(me)) {
			m.wake()
		}
		m.stir(now)
	}
}

// age notes since when the node has the keys that it has.
func (m *Machine) age(old intent.Peer, now time.Time) {
	for i := range m.made {
		s, _ := m.me.SlotOf(uint8(i))
		if was, _ := old.SlotOf(uint8(i)); s.Key != was.Key {
			m.made[i] = now
		}
	}
}

// moved tells whether the node is reached otherwise than before.
func moved(old, me intent.Peer) bool {
	return !slices.Equal(old.Candidates, me.Candidates) || !slices.Equal(old.Underlay, me.Underlay) || old.NAT4 != me.NAT4 || old.NAT6 != me.NAT6
}

func (m *Machine) setPeer(peer *intent.Peer, all, shared bool, now time.Time) {
	p, there := m.pairs[peer.Name]
	if !there {
		p = newPair(m, peer.Name)
		p.born = now
		m.pairs[peer.Name] = p
		if o, ok := m.in.Adopted[peer.Name]; ok {
			p.at = p.line(o)
			p.since, p.entered, p.adopted = now, now, p.at != nil
			if t := p.tunnel(p.at); t != nil {
				t.bare = true // it is sent by already
			}
			p.carried = m.in.MTUs[peer.Name]
		}
	}
	p.set = m.sets
	if !there || all || shared || !p.peer.Equal(*peer) {
		p.know(*peer, now)
		m.due.put(p, now)
		return
	}
	p.choose()
}

// outer are the node's addresses as they are from outside.
func outer(me intent.Peer) (out []netip.AddrPort) {
	for _, c := range me.Candidates {
		if c.Source != intent.FromPeer {
			out = append(out, c.Addr)
		}
	}
	return out
}

// wake ends all rests: what routers remember is of an address that is ours no more.
func (m *Machine) wake() {
	for _, p := range m.pairs {
		for s := range p.tunnels {
			for _, r := range p.tunnels[s].trails {
				r.rest, r.fails = time.Time{}, 0
			}
		}
	}
}

// stir has all pairs try again, the idle ones one after the other.
func (m *Machine) stir(now time.Time) {
	i := time.Duration(0)
	for _, p := range m.pairs {
		at := now
		if p.at != nil && p.at.up && now.Sub(p.busy) >= inUse {
			at = now.Add(i * time.Millisecond)
			i++
		}
		p.stir(at)
		m.due.put(p, at)
	}
}

// Event takes what happened. What follows from it comes out of the next Step, which
// is due at once.
func (m *Machine) Event(e Event, now time.Time) {
	m.now = now
	switch e := e.(type) {
	case Heard:
		m.with(e.Peer, now, func(p *pair) { p.hear(e, now) })
	case Answered:
		m.with(e.Peer, now, func(p *pair) { p.answered(e, now) })
	case Inner:
		m.with(e.Peer, now, func(p *pair) { p.inner(e, now) })
	case Unsent:
		m.with(e.Peer, now, func(p *pair) { p.unsent(e, now) })
	case Device:
		if p := m.pairs[e.Peer]; p != nil && int(e.Slot) < len(p.tunnels) && p.took(e, now) {
			m.due.put(p, now)
		}
	case Looked:
		m.looked = now
	case Traffic:
		if p := m.pairs[e.Peer]; p != nil && p.trafficTold(now) {
			m.due.put(p, now)
		}
	case Changed:
		m.stir(now)
	}
}

func (m *Machine) with(peer string, now time.Time, f func(*pair)) {
	if p := m.pairs[peer]; p != nil {
		f(p)
		m.due.put(p, now)
	}
}

// Step does what is due, and says what to do and when to come again; a zero time says
// that nothing is due before the next Set or Event. What it returns is the caller's.
func (m *Machine) Step(now time.Time) (acts []Action, next time.Time) {
	m.now = now
	for len(m.due) > 0 && !m.due[0].due.After(now) {
		p := m.due[0]
		m.due.put(p, p.step(now))
	}
	if m.devices() {
		if !m.lookAt.After(now) {
			m.act(Look{})
			m.lookAt = now.Add(lookIdle)
		}
		next = m.lookAt
	}
	if len(m.due) > 0 && (next.IsZero() || m.due[0].due.Before(next)) {
		next = m.due[0].due
	}
	acts, m.acts = m.acts, nil
	return acts, next
}

// devices tells whether there is a WireGuard device to look at.
func (m *Machine) devices() bool { return len(m.me.Slots) > 0 && len(m.pairs) > 0 }

// look asks for a look at the devices soon: an endpoint is being held.
func (m *Machine) look(w *wake) {
	if at := w.now.Add(lookHold); m.lookAt.After(at) {
		m.lookAt = at
	}
}

func (m *Machine) act(a Action) { m.acts = append(m.acts, a) }

func (m *Machine) id() uint64 {
	m.ids++
	return m.ids
}

// Choices is how all pairs send, by peer. It is the same map as long as nothing has
// changed, and is never written to.
func (m *Machine) Choices() map[string]Choice {
	if len(m.stale) == 0 {
		return m.choices
	}
	next := maps.Clone(m.choices)
	for name := range m.stale {
		if p, ok := m.pairs[name]; ok {
			next[name] = p.choice
		} else {
			delete(next, name)
		}
	}
	clear(m.stale)
	m.choices = next
	return next
}
