package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
)

// name is the file in the data folder.
const name = "wireguard.json"

// Config makes a Ring. The zero value is useful.
type Config struct {
	Log *slog.Logger     // nil: none
	Now func() time.Time // nil: time.Now
}

// Ring is the node's keys.
type Ring struct {
	dir *datadir.Dir
	now func() time.Time

	mu   sync.Mutex
	held keys
}

// Open reads the keys; a folder without any is an empty ring. A file that cannot be
// read is set aside: the node then makes fresh keys, and its peers learn them.
func Open(dir *datadir.Dir, c Config) (*Ring, error) {
	r := &Ring{dir: dir, now: c.Now}
	if r.now == nil {
		r.now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	b, err := dir.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	held, err := decode(b)
	if newer := (schema.Newer{}); errors.As(err, &newer) {
		newer.What = dir.Path(name)
		return nil, fmt.Errorf("keyring: %w", newer)
	}
	if err != nil {
		to, aside := dir.SetAside(name)
		c.Log.Error("WireGuard keys unreadable", note.Path, to, note.Err, errors.Join(err, aside), note.Do, "fresh keys are made and told to the peers; look into the file, then remove it")
		return r, aside
	}
	r.held = held
	return r, nil
}

// Slots are the devices that have a key, in the order of their slots.
func (r *Ring) Slots() []intent.Slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []intent.Slot
	for _, s := range r.held.slots {
		out = append(out, s.Slot)
	}
	return out
}

// Made is when the key of a slot was made; false if there is none.
func (r *Ring) Made(slot uint8) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.held.slot(slot); i >= 0 {
		return r.held.slots[i].made, true
	}
	return time.Time{}, false
}

// Private returns the secret half of a key of ours; false if it is not.
func (r *Ring) Private(pub intent.Key) ([32]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.held.slots {
		if s.Key == pub {
			return s.private, true
		}
	}
	return [32]byte{}, false
}

// Need makes a key in a slot that has none, and sets the UDP port of its device.
func (r *Ring) Need(slot uint8, port uint16) error {
	if slot >= intent.Slots || port == 0 {
		return fmt.Errorf("keyring: slot %d, port %d: slots are 0 and 1, ports 1 to 65535", slot, port)
	}
	return r.change(func(k *keys) error {
		i := k.slot(slot)
		if i < 0 {
			fresh, err := generate(slot, r.now())
			if err != nil {
				return err
			}
			i, _ = slices.BinarySearchFunc(k.slots, slot, func(s held, n uint8) int { return int(s.Slot.Slot) - int(n) })
			k.slots = slices.Insert(k.slots, i, fresh)
		}
		k.slots[i].Port = port
		return nil
	})
}

// Shift is how far the node's ports are from the cluster's: see intent.WireGuardPort.
func (r *Ring) Shift() uint8 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held.shift
}

// SetShift keeps it. The ports of the slots that there are do not change with it.
func (r *Ring) SetShift(shift uint8) error {
	if shift > intent.PortShifts {
		return fmt.Errorf("keyring: shift %d: at most %d", shift, intent.PortShifts)
	}
	return r.change(func(k *keys) error {
		k.shift = shift
		return nil
	})
}

// Leave says that the key of a slot is to go: pairs move to the other slot. One that
// is not there is fs.ErrNotExist.
func (r *Ring) Leave(slot uint8) error {
	return r.change(func(k *keys) error {
		i := k.slot(slot)
		if i < 0 {
			return fmt.Errorf("keyring: slot %d has no key to leave: %w", slot, fs.ErrNotExist)
		}
		k.slots[i].Leaving = true
		return nil
	})
}

// Drop forgets the key of a slot, and the pre-shared keys that belong to it. One that
// is not there is no error.
func (r *Ring) Drop(slot uint8) error {
	return r.change(func(k *keys) error {
		k.slots = slices.DeleteFunc(k.slots, func(s held) bool { return s.Slot.Slot == slot })
		k.shared = slices.DeleteFunc(k.shared, func(s shared) bool { return s.of.Slot == slot })
		return nil
	})
}

// change makes another set of keys and takes it once it is on the disk.
func (r *Ring) change(with func(*keys) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.held.clone()
	if err := with(&next); err != nil {
		return err
	}
	if next.equal(r.held) {
		return nil
	}
	if err := r.dir.Write(name, next.encode()); err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	r.held = next
	return nil
}
