package keyring

import (
	"fmt"
	"slices"

	"github.com/weft-net/weft/proto/intent"
)

// Bounds of pre-shared keys.
const (
	kept      = 2     // of one peer and slot: the one in use and the one before, or the next
	maxShared = 32768 // of all: twice the peers of the largest fabric, in both slots
)

// SetPreshared keeps a pre-shared key of a peer (by its node's name) and slot, and
// returns what stands for it: its SHA-256. The one before it stays findable; older
// ones are forgotten. The zero key is none and is refused.
func (r *Ring) SetPreshared(peer string, slot uint8, key [32]byte) (id [32]byte, err error) {
	if peer == "" || slot >= intent.Slots || key == [32]byte{} {
		return id, fmt.Errorf("keyring: pre-shared key of peer %q, slot %d: a name, slot 0 or 1, and a key that is not zero are needed", peer, slot)
	}
	fresh := newShared(peer, slot, key)
	return fresh.id, r.change(func(k *keys) error {
		list := slices.DeleteFunc(k.sharedOf(peer, slot), func(s shared) bool { return s.id == fresh.id })
		list = append(list, fresh)
		list = list[max(0, len(list)-kept):]
		k.shared = slices.DeleteFunc(k.shared, func(s shared) bool { return s.peer == peer && s.slot == slot })
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

// PresharedOf lists the ids of a peer's keys in a slot, the newest first.
func (r *Ring) PresharedOf(peer string, slot uint8) (ids [][32]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.held.sharedOf(peer, slot)) {
		ids = append(ids, s.id)
	}
	return ids
}

// ForgetPreshared forgets all keys of a peer: its node is gone for good.
func (r *Ring) ForgetPreshared(peer string) error {
	return r.change(func(k *keys) error {
		k.shared = slices.DeleteFunc(k.shared, func(s shared) bool { return s.peer == peer })
		return nil
	})
}
