package mesh

import (
	"fmt"
	"slices"

	"github.com/weft-net/weft/proto/intent"
)

// Turn is what a node does with its WireGuard slots next.
type Turn uint8

// The turns.
const (
	Keep  Turn = iota // nothing
	Make              // a key in the slot, where there is none
	Leave             // the slot's key is to go: peers move to the other slot
	Drop              // nobody uses the slot: its device and key go
)

// String is the word of logs.
func (t Turn) String() string { return [...]string{"keep", "make", "leave", "drop"}[t] }

// Rotation is what the next turn is found by.
//
// A key is never changed in place: the other slot gets a new one, pairs move there, and
// the old slot goes when nobody uses it. Where one node does so, its peers need a
// device in that slot too, with a new key of their own; once all nodes have one, the
// old slots are needed by nobody and go as well. So the keys of a whole cluster are
// changed by one rotation, and all are in one slot again.
type Rotation struct {
	Self  intent.Peer            // the node, with its slots as they are here
	Peers []intent.Peer          // the others; those without slots know no WireGuard and do not count
	Used  [intent.Slots][]string // Summary.Slots
	Pairs int                    // Summary.Pairs: as long as some peers have none, it is not known who uses a slot
	// Old is the slot whose key was made before the other's, where there are two.
	Old uint8
	// Stale are the slots whose port is not the one that a key made now would have, Vain
	// those of Summary.Vain. Such a slot that was made for a move is made anew: the move may
	// wait for nothing but the port.
	Stale, Vain [intent.Slots]bool
	// Due asks for new keys: the ones there are too old, or an operator wants it. It
	// stays until the turn is Leave.
	Due bool
}

// Next is the next turn, with its slot and why.
func (r Rotation) Next() (turn Turn, slot uint8, why string) {
	if len(r.Self.Slots) == 0 {
		s := r.popular()
		return Make, s, "no key yet"
	}
	for _, s := range r.Self.Slots {
		if s.Leaving && r.stays(1-s.Slot) && len(r.Used[s.Slot]) == 0 && r.Pairs >= len(r.Peers) {
			return Drop, s.Slot, "nobody uses it any more"
		}
	}
	if s, ok := r.useless(); ok {
		return Drop, s, "its port is wanted no more, and nothing has come by it"
	}
	for s := range uint8(intent.Slots) {
		if why, ok := r.lacks(s); ok {
			return Make, s, why
		}
	}
	return r.begin()
}

// useless is one of two slots that was made for a move, has come to nothing and is to have
// another port.
func (r Rotation) useless() (slot uint8, ok bool) {
	if len(r.Self.Slots) < intent.Slots || r.Pairs < len(r.Peers) {
		return 0, false
	}
	for _, s := range r.Self.Slots {
		if !s.Leaving && r.Stale[s.Slot] && r.Vain[s.Slot] {
			return s.Slot, true
		}
	}
	return 0, false
}

// begin starts leaving a slot: one that is to get a new key, or that nobody needs.
func (r Rotation) begin() (Turn, uint8, string) {
	if slices.ContainsFunc(r.Self.Slots, func(s intent.Slot) bool { return s.Leaving }) {
		return Keep, 0, ""
	}
	if len(r.Self.Slots) == 1 {
		s := r.Self.Slots[0].Slot
		if r.Due && r.quiet() {
			return Make, 1 - s, "new keys are due"
		}
		return Keep, 0, ""
	}
	if r.Due {
		return Leave, r.Old, "new keys are due"
	}
	for _, s := range [...]uint8{1, 0} {
		if r.left(s) && r.everywhere(1-s) {
			return Leave, s, "all nodes have a key in the other slot"
		}
	}
	if r.everywhere(0) {
		return Leave, 1, "all nodes have a key in both slots"
	}
	return Keep, 0, ""
}

// popular is the slot that most nodes have; 0 of two that are alike.
func (r Rotation) popular() uint8 {
	if r.holders(1) > r.holders(0) {
		return 1
	}
	return 0
}

// holders counts the nodes that have a slot and do not leave it, this one included.
func (r Rotation) holders(slot uint8) (n int) {
	for _, p := range append(slices.Clone(r.Peers), r.Self) {
		if s, ok := p.SlotOf(slot); ok && !s.Leaving {
			n++
		}
	}
	return n
}

// stays tells whether the node has a slot that it does not leave.
func (r Rotation) stays(slot uint8) bool {
	s, ok := r.Self.SlotOf(slot)
	return ok && !s.Leaving
}

// lacks tells whether a peer needs this node to have a slot: the two have none that
// both keep, and this is the slot where they should meet.
func (r Rotation) lacks(slot uint8) (string, bool) {
	if _, there := r.Self.SlotOf(slot); there {
		return "", false
	}
	if !r.stays(1 - slot) {
		return fmt.Sprintf("the key in slot %d is to go", 1-slot), true
	}
	for _, p := range r.Peers {
		s, ok := p.SlotOf(slot)
		if !ok || s.Leaving {
			continue
		}
		other, both := p.SlotOf(1 - slot)
		switch {
		case both && other.Leaving:
			return fmt.Sprintf("%s leaves slot %d", p.Name, 1-slot), true
		case !both && r.popular() == slot:
			return fmt.Sprintf("%s has slot %d only", p.Name, slot), true
		}
	}
	return "", false
}

// left tells whether a peer leaves a slot, or has left it.
func (r Rotation) left(slot uint8) bool {
	return slices.ContainsFunc(r.Peers, func(p intent.Peer) bool {
		s, ok := p.SlotOf(slot)
		return len(p.Slots) > 0 && (!ok || s.Leaving)
	})
}

// everywhere tells whether all nodes have a slot that they keep.
func (r Rotation) everywhere(slot uint8) bool {
	return !slices.ContainsFunc(r.Peers, func(p intent.Peer) bool {
		s, ok := p.SlotOf(slot)
		return len(p.Slots) > 0 && (!ok || s.Leaving)
	}) && r.stays(slot)
}

// quiet tells whether no node is about to change slots: one after the other.
func (r Rotation) quiet() bool {
	return !slices.ContainsFunc(r.Peers, func(p intent.Peer) bool {
		return slices.ContainsFunc(p.Slots, func(s intent.Slot) bool { return s.Leaving })
	})
}
