package preshared

import (
	"time"

	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/preshared"
)

// Times.
const (
	again = 250 * time.Millisecond // between two tries, at first
	least = 8 * time.Second        // the longest wait between two
	// linger is how long the end that heard last leaves the tunnel as it was, in which
	// the other asks whether it has heard.
	linger = time.Second
	// silence is how long the other end waits for an answer before it tries the key.
	silence = 3 * linger
)

// pair is this node and one peer.
type pair struct {
	m     *Machine
	peer  Peer
	slots [intent.Slots]slot
	told  [intent.Slots]State
}

// slot is one tunnel of a pair, and what is agreed on for it.
type slot struct {
	own, theirs intent.Key
	key         [32]byte  // id of what is held; zero: nothing
	from        time.Time // from then on it is used
	applied     bool      // it is
	settled     bool      // the other end has said that it holds it
	lost        bool      // there was one that did not work

	// Of the lower-named end.
	offer  *wire.Exchange
	answer wire.Whole
	tries  int
	next   time.Time

	// Of the other.
	offered  wire.Whole
	pending  [32]byte // the key that was answered with
	exchange [32]byte // in which
	answered []byte   // the ciphertext
	at       time.Time
}

// lower tells whether this end asks.
func (p *pair) lower() bool { return p.m.self < p.peer.Name }

// set takes what is known of the peer.
func (p *pair) set(peer Peer) {
	p.peer = peer
	for i := range p.slots {
		s, known := &p.slots[i], peer.Slots[i]
		if !known.There {
			*s = slot{}
			continue
		}
		if s.own != known.Own || s.theirs != known.Theirs {
			*s = slot{own: known.Own, theirs: known.Theirs}
			if id, ok := p.m.store.Find(p.tunnel(uint8(i))); ok {
				s.key, s.applied = id, true
			}
		}
		if known.Mute && s.applied && known.Key == s.key {
			p.forget(uint8(i))
		}
	}
}

func (p *pair) tunnel(n uint8) Tunnel {
	s := p.peer.Slots[n]
	return Tunnel{Peer: p.peer.Name, Slot: n, Own: s.Own, Theirs: s.Theirs}
}

// forget begins again with a tunnel.
func (p *pair) forget(n uint8) {
	s := &p.slots[n]
	if s.key != ([32]byte{}) {
		p.m.failed(p.m.store.Drop(s.key))
	}
	*s = slot{own: s.own, theirs: s.theirs, lost: true}
}

// hold takes a key that is to be used from a time on.
func (p *pair) hold(n uint8, key [32]byte, from time.Time) bool {
	id, err := p.m.store.Keep(p.tunnel(n), key)
	if err != nil {
		p.m.failed(err)
		return false
	}
	s := &p.slots[n]
	*s = slot{own: s.own, theirs: s.theirs, key: id, from: from, lost: s.lost}
	return true
}

// id is what stands for the tunnel in messages.
func (p *pair) id(n uint8) [32]byte {
	k := p.peer.Slots[n]
	own, theirs := wire.End{Node: p.m.self, Key: k.Own}, wire.End{Node: p.peer.Name, Key: k.Theirs}
	if p.lower() {
		return wire.Pair(own, theirs, n)
	}
	return wire.Pair(theirs, own, n)
}

// keyed tells whether a tunnel is in the device with a key.
func (p *pair) keyed(n uint8) bool {
	return p.peer.Slots[n].There && p.slots[n].applied
}

// before tells whether a tunnel is used without a key, as it was before keys were
// wanted. It gets none: the pair moves to the other slot.
func (p *pair) before(n uint8) bool {
	s := &p.slots[n]
	return p.peer.Slots[n].Bare && s.key == ([32]byte{}) && !s.lost
}

// carries tells whether an agreement for another tunnel can go by this one.
func (p *pair) carries(n uint8) bool {
	s := p.peer.Slots[n]
	return s.There && !s.Mute && (p.before(n) || p.keyed(n))
}

// via is the tunnel in which the key of one is agreed on: the other if that is in use,
// else the very same.
func (p *pair) via(n uint8) uint8 {
	if p.carries(1 - n) {
		return 1 - n
	}
	return n
}

// target is the tunnel that is to get a key next: one that stays before one that goes.
func (p *pair) target() (n uint8, ok bool) {
	for i := range uint8(intent.Slots) {
		if !p.lacks(i) {
			continue
		}
		if !ok || p.peer.Slots[n].Leaving && !p.peer.Slots[i].Leaving {
			n, ok = i, true
		}
	}
	return n, ok
}

// lacks tells whether a tunnel has to get a key.
func (p *pair) lacks(n uint8) bool {
	return p.m.wanted && p.peer.Able && p.peer.Slots[n].There && !p.before(n) && p.slots[n].key == ([32]byte{})
}

// states are how the pair's tunnels may be there.
func (p *pair) states() (out [intent.Slots]State) {
	target, lacks := p.target()
	for i := range out {
		n, s := uint8(i), p.peer.Slots[i]
		if !s.There {
			continue
		}
		out[i] = State{Own: s.Own, Theirs: s.Theirs}
		switch {
		case p.keyed(n):
			out[i].Key = p.slots[i].key
		case !p.m.wanted, p.before(n):
			out[i].Open = true
		default:
			// Without a key it is there for an agreement only.
			out[i].Open = p.via(n) == n && p.peer.Able && (lacks && target == n || p.slots[i].key != [32]byte{})
		}
	}
	return out
}
