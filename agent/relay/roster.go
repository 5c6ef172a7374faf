package relay

import (
	"net/netip"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/relay"
)

// roster is the fabric as relaying over nodes needs it. It does not change.
type roster struct {
	name    string
	self    netip.Addr // fabric address of this node; zero: none yet
	carries term       // this node, for others
	any     term       // the longest of all nodes'
	mates   map[string]*mate
	at      map[netip.Addr]*mate
}

// term is until when a node carries for others, by the relay's clock; 0: it does not.
type term time.Duration

// One whose label goes carries on for a while: pairs leave it for a way that is proved.
const (
	always  = term(1<<63 - 1)
	lingers = 30 * time.Second
)

func (t term) over(now time.Duration) bool { return time.Duration(t) <= now }

// next is the term after an intent.
func (t term) next(labelled bool, now time.Duration) term {
	switch {
	case labelled:
		return always
	case t == always:
		return term(now + lingers)
	}
	return t
}

// mate is another node.
type mate struct {
	name   string
	self   string // name of this node
	addr   netip.Addr
	relays term
	slots  [intent.Slots]pairKeys
	via    mesh.Via

	mu      sync.Mutex // guards all below
	out, in [intent.Slots]*wire.Key
	asked   [intent.Slots]time.Duration // when the secret was asked for
	doubts  [intent.Slots]bool          // something came that does not fit it
	pairs   map[string]*wire.Bucket     // of what it sends over this node, by whom it is for
}

// pairKeys are the two WireGuard keys of a slot; zero: one of the two is not there.
type pairKeys struct {
	ours, theirs intent.Key
	leaving      bool
}

// newRoster reads an intent. A mate that is as it was keeps its keys.
func newRoster(in intent.Node, was *roster, now time.Duration) *roster {
	ro := &roster{name: in.Name, mates: map[string]*mate{}, at: map[netip.Addr]*mate{}}
	self, _ := in.Self()
	if list := self.Fabric(); len(list) > 0 {
		ro.self = list[0]
	}
	ro.carries = was.carries.next(self.Relaying(), now)
	ro.any = ro.carries
	for _, p := range in.Peers {
		addr, ok := p.FabricOf(ro.self.Is4())
		if p.Name == in.Name || !ok || !ro.self.IsValid() {
			continue
		}
		old := was.mates[p.Name]
		m := &mate{name: p.Name, self: in.Name, addr: addr, via: mesh.Via{Node: p.Name}, pairs: map[string]*wire.Bucket{}}
		if old != nil {
			m.relays = old.relays
		}
		m.relays = m.relays.next(p.Relaying(), now)
		for slot := range uint8(intent.Slots) {
			a, x := self.SlotOf(slot)
			if b, y := p.SlotOf(slot); x && y {
				m.slots[slot] = pairKeys{a.Key, b.Key, a.Leaving || b.Leaving}
			}
		}
		if old != nil && old.addr == m.addr && old.relays == m.relays && old.slots == m.slots {
			m = old
		}
		ro.mates[m.name], ro.at[m.addr] = m, m
		ro.any = max(ro.any, m.relays)
	}
	return ro
}

// askAgain is how often a secret is asked for that was not there, or did not fit.
const askAgain = time.Second

// key is for what this node sends to the mate (out), or for what it hears; nil: there
// is none.
func (m *mate) key(r *Relay, slot uint8, out bool) *wire.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := r.clock()
	if (m.out[slot] == nil || m.doubts[slot]) && (m.asked[slot] == 0 || now-m.asked[slot] > askAgain) {
		m.asked[slot], m.doubts[slot] = now, false
		if shared, ok := r.cfg.Secret(m.name, slot); ok {
			m.out[slot], m.in[slot] = wire.NewKey(shared, m.self, m.name), wire.NewKey(shared, m.name, m.self)
		}
	}
	if out {
		return m.out[slot]
	}
	return m.in[slot]
}

// doubt notes that something came that the key does not fit: it may be an older one.
func (m *mate) doubt(slot uint8) {
	m.mu.Lock()
	m.doubts[slot] = true
	m.mu.Unlock()
}

// sealer is the key for what this node sends, and of which slot: of one that stays, if
// there is one.
func (m *mate) sealer(r *Relay) (*wire.Key, uint8) {
	for _, leaving := range []bool{false, true} {
		for slot := range uint8(intent.Slots) {
			pair := m.slots[slot]
			if pair.ours == (intent.Key{}) || pair.leaving != leaving {
				continue
			}
			if k := m.key(r, slot, true); k != nil {
				return k, slot
			}
		}
	}
	return nil, 0
}

// lets bounds what a mate sends to another over this node.
func (m *mate) lets(to string, n int, now time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.pairs[to]
	if b == nil {
		fresh := wire.NewBucket(nodeRate, now)
		b = &fresh
		m.pairs[to] = b
	}
	return b.Take(n, now)
}
