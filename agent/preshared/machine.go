package preshared

import (
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/preshared"
)

// Tunnel is what a key is of.
type Tunnel struct {
	Peer        string
	Slot        uint8
	Own, Theirs intent.Key
}

// Store keeps keys, and finds them by their ids. It survives the agent.
type Store interface {
	Find(of Tunnel) (id [32]byte, ok bool)
	Keep(of Tunnel, key [32]byte) (id [32]byte, err error) // on the disk when it returns
	Drop(id [32]byte) error
}

// Peer is a node as it is known now.
type Peer struct {
	Name  string
	Able  bool // its agent knows pre-shared keys
	Slots [intent.Slots]Slot
}

// Slot is a tunnel of the pair as it is now.
type Slot struct {
	There       bool // both ends have a device
	Own, Theirs intent.Key
	Leaving     bool     // one of the two is to go
	Bare        bool     // it is sent by without a key, or may be: since before keys were wanted
	Mute        bool     // its ciphertext arrives, and nothing comes out of it
	Key         [32]byte // id of the pre-shared key that the device has; zero: none
}

// State is how a tunnel may be there. The zero value is a peer that the device does not
// have.
type State struct {
	Own, Theirs intent.Key // of which it is said
	Key         [32]byte   // id of the pre-shared key; zero: none
	Open        bool       // there without a key
}

// Send is a message to send, in the tunnel of a slot.
type Send struct {
	Peer    string
	Via     uint8
	Message wire.Message
}

// Machine agrees for all pairs of one node. It is used by one goroutine at a time.
type Machine struct {
	self   string
	store  Store
	wanted bool
	pairs  map[string]*pair
	states map[string][intent.Slots]State
	sends  []Send
	fails  []error // of the store, since the last Step
}

// NewMachine returns a Machine of a node that knows nobody.
func NewMachine(self string, store Store) *Machine {
	return &Machine{self: self, store: store, pairs: map[string]*pair{}, states: map[string][intent.Slots]State{}}
}

// Set takes what is known now: whether pairs are to have keys, and all peers.
func (m *Machine) Set(wanted bool, peers []Peer) {
	m.wanted = wanted
	seen := make(map[string]bool, len(peers))
	for _, peer := range peers {
		seen[peer.Name] = true
		p, ok := m.pairs[peer.Name]
		if !ok {
			p = &pair{m: m}
			m.pairs[peer.Name] = p
		}
		p.set(peer)
	}
	maps.DeleteFunc(m.pairs, func(name string, _ *pair) bool { return !seen[name] })
	m.tell()
}

// Hear takes a message that came in the tunnel of a slot, authentic.
func (m *Machine) Hear(peer string, via uint8, in wire.Message, now time.Time) {
	p, ok := m.pairs[peer]
	if !ok || via >= intent.Slots {
		return
	}
	p.hear(via, in, now)
	m.tell()
}

// Step does what is due. It answers what to send, when to come again (zero: when
// something happens), and what the Store refused.
func (m *Machine) Step(now time.Time) (sends []Send, next time.Time, errs []error) {
	for _, name := range slices.Sorted(maps.Keys(m.pairs)) {
		if at := m.pairs[name].step(now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	m.tell()
	sends, errs, m.sends, m.fails = m.sends, m.fails, nil, nil
	return sends, next, errs
}

// Idle tells whether there is nothing to look at: no keys are wanted, and there are none.
func (m *Machine) Idle() bool {
	if m.wanted {
		return false
	}
	for _, p := range m.pairs {
		for i := range p.slots {
			if p.slots[i].key != [32]byte{} {
				return false
			}
		}
	}
	return true
}

// States are how the tunnels of all pairs may be there. The map is not changed any
// more, and is the same while nothing changes.
func (m *Machine) States() map[string][intent.Slots]State { return m.states }

// tell makes the states anew if any is another.
func (m *Machine) tell() {
	same := len(m.states) == len(m.pairs)
	for name, p := range m.pairs {
		p.told = p.states()
		same = same && m.states[name] == p.told
	}
	if same {
		return
	}
	m.states = make(map[string][intent.Slots]State, len(m.pairs))
	for name, p := range m.pairs {
		m.states[name] = p.told
	}
}

// failed notes what the store refused.
func (m *Machine) failed(err error) {
	if err != nil {
		m.fails = append(m.fails, err)
	}
}
