package keyring

import (
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Bounds of pre-shared keys.
const (
	kept      = 2     // of one peer and slot: the one in use and the one before, or the next
	maxShared = 32768 // of all: twice the peers of the largest fabric, in both slots
)

// Tunnel is what a pre-shared key is of: with other keys at either end it is another
// tunnel.
type Tunnel struct {
	Peer        string // its node's name
	Slot        uint8
	Own, Theirs intent.Key
}

// SetPreshared keeps the pre-shared key of a tunnel and returns what stands for it: its
// SHA-256. The one before it of the same peer and slot stays findable; older ones are
// forgotten. The zero key is none and is refused.
func (r *Ring) SetPreshared(of Tunnel, key [32]byte) (id [32]byte, err error) {
	if of.Peer == "" || of.Slot >= intent.Slots || key == [32]byte{} {
		return id, fmt.Errorf("keyring: pre-shared key of peer %q, slot %d: a name, slot 0 or 1, and a key that is not zero are needed", of.Peer, of.Slot)
	}
	fresh := newShared(of, key, r.now())
	return fresh.id, r.change(func(k *keys) error {
		list := slices.DeleteFunc(k.sharedOf(of.Peer, of.Slot), func(s shared) bool { return s.id == fresh.id })
		list = append(list, fresh)
		list = list[max(0, len(list)-kept):]
		k.shared = slices.DeleteFunc(k.shared, func(s shared) bool { return s.of.Peer == of.Peer && s.of.Slot == of.Slot })
		if len(k.shared)+len(list) > maxShared {
			return fmt.Errorf("keyring: more than %d pre-shared keys", maxShared)
		}
		k.shared = append(k.shared, list...)
		return nil
	})
}

// Preshared returns the pre-shared key that an id stands for; false if it is not kept.
func (r *Ring) Preshared(id [32]byte) ([32]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.held.shared {
		if s.id == id {
			return s.key, true
		}
	}
	return [32]byte{}, false
}

// PresharedOf is the id of a tunnel's newest key, and when it was agreed on; false if
// there is none.
func (r *Ring) PresharedOf(of Tunnel) (id [32]byte, made time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.held.shared) {
		if s.of == of {
			return s.id, s.made, true
		}
	}
	return id, made, false
}

// DropPreshared forgets the key that an id stands for. One that is not there is no
// error.
func (r *Ring) DropPreshared(id [32]byte) error {
	return r.change(func(k *keys) error {
		k.shared = slices.DeleteFunc(k.shared, func(s shared) bool { return s.id == id })
		return nil
	})
}

// KeepPreshared forgets all keys of peers that are not to be kept: their nodes are gone
// for good.
func (r *Ring) KeepPreshared(peer func(name string) bool) error {
	return r.change(func(k *keys) error {
		k.shared = slices.DeleteFunc(k.shared, func(s shared) bool { return !peer(s.of.Peer) })
		return nil
	})
}
