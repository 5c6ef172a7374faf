package keyring

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/schema"
)

// secret is a key that no verb of fmt prints.
type secret [32]byte

const hidden = "(secret)"

func (secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, hidden) }
func (secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// fmt looks through unexported fields, past what they would print as, so all that
// holds a secret says so itself.

func (held) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, hidden) }
func (shared) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }
func (keys) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, hidden) }
func (*Ring) Format(f fmt.State, _ rune)  { _, _ = io.WriteString(f, "keyring") }

// held is a slot with its secret half.
type held struct {
	intent.Slot
	private secret
	made    time.Time
}

// shared is a pre-shared key of one tunnel.
type shared struct {
	of   Tunnel
	id   [32]byte // SHA-256 of key
	key  secret
	made time.Time
}

func newShared(of Tunnel, key secret, made time.Time) shared {
	return shared{of: of, id: sha256.Sum256(key[:]), key: key, made: made.UTC().Truncate(time.Second)}
}

// keys is all that is held: slots in their order, pre-shared keys by peer in the
// order in which they came.
type keys struct {
	slots  []held
	shared []shared
	shift  uint8 // of the ports: see intent.WireGuardPort
}

func (k keys) slot(n uint8) int {
	return slices.IndexFunc(k.slots, func(s held) bool { return s.Slot.Slot == n })
}

func (k keys) sharedOf(peer string, slot uint8) (out []shared) {
	for _, s := range k.shared {
		if s.of.Peer == peer && s.of.Slot == slot {
			out = append(out, s)
		}
	}
	return out
}

func (k keys) clone() keys { return keys{slices.Clone(k.slots), slices.Clone(k.shared), k.shift} }

func (k keys) equal(o keys) bool {
	return k.shift == o.shift && slices.Equal(k.slots, o.slots) && slices.Equal(k.shared, o.shared)
}

// generate makes a key. WireGuard clamps the secret when it takes it, and gives it
// back so (RFC 7748, section 5); it is kept as it will be seen.
func generate(slot uint8, now time.Time) (held, error) {
	h := held{Slot: intent.Slot{Slot: slot}, made: now.UTC().Truncate(time.Second)}
	_, _ = rand.Read(h.private[:]) // never fails
	h.private[0] &= 248
	h.private[31] = h.private[31]&127 | 64
	return h, h.derive()
}

// derive sets the public half.
func (h *held) derive() error {
	k, err := ecdh.X25519().NewPrivateKey(h.private[:])
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	h.Key = intent.Key(k.PublicKey().Bytes())
	return nil
}

// The file. Secrets are written as base64, as wg(8) writes them.
type file struct {
	Schema    int             `json:"schema"`
	Slots     []fileSlot      `json:"slots,omitempty"`
	Preshared []filePreshared `json:"preshared,omitempty"`
	// Shift is of a release that knows it: to others the ports are the cluster's, and the
	// node goes back there.
	Shift uint8 `json:"shift,omitempty"`
}

type fileSlot struct {
	Slot    uint8     `json:"slot"`
	Port    uint16    `json:"port"`
	Private []byte    `json:"private"`
	Made    time.Time `json:"made"`
	Leaving bool      `json:"leaving,omitempty"`
}

type filePreshared struct {
	Peer   string `json:"peer"`
	Slot   uint8  `json:"slot"`
	Own    []byte `json:"own"`
	Theirs []byte `json:"theirs"`
	Key    []byte `json:"key"`
	Made   int64  `json:"made"` // seconds since 1970
}

func (k keys) encode() []byte {
	f := file{Schema: schema.Keyring.Version(), Shift: k.shift}
	for _, s := range k.slots {
		f.Slots = append(f.Slots, fileSlot{s.Slot.Slot, s.Port, s.private[:], s.made, s.Leaving})
	}
	for _, s := range k.shared {
		f.Preshared = append(f.Preshared, filePreshared{s.of.Peer, s.of.Slot, s.of.Own[:], s.of.Theirs[:], s.key[:], s.made.Unix()})
	}
	b, _ := json.MarshalIndent(f, "", "  ") // of values that always marshal
	return append(b, '\n')
}

// decode reads the file. Its errors never repeat what stands in it.
func decode(b []byte) (keys, error) {
	var f file
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&f); err != nil {
		return keys{}, fmt.Errorf("not a file of keys: at byte %d", d.InputOffset())
	}
	if err := schema.Keyring.Check("it", f.Schema); err != nil {
		return keys{}, err
	}
	if f.Shift > intent.PortShifts {
		return keys{}, fmt.Errorf("shift %d: at most %d", f.Shift, intent.PortShifts)
	}
	k := keys{shift: f.Shift}
	for _, s := range f.Slots {
		switch {
		case s.Slot >= intent.Slots || k.slot(s.Slot) >= 0:
			return keys{}, fmt.Errorf("slots: slot %d: 0 and 1 may each be there once", s.Slot)
		case s.Port == 0:
			return keys{}, fmt.Errorf("slots: slot %d has no port", s.Slot)
		case len(s.Private) != len(secret{}):
			return keys{}, fmt.Errorf("slots: slot %d: key of %d bytes, not 32", s.Slot, len(s.Private))
		}
		h := held{Slot: intent.Slot{Slot: s.Slot, Port: s.Port, Leaving: s.Leaving}, private: secret(s.Private), made: s.Made}
		if err := h.derive(); err != nil {
			return keys{}, err
		}
		k.slots = append(k.slots, h)
	}
	slices.SortFunc(k.slots, func(a, b held) int { return int(a.Slot.Slot) - int(b.Slot.Slot) })
	var err error
	k.shared, err = decodeShared(f.Preshared)
	return k, err
}

func decodeShared(list []filePreshared) (out []shared, err error) {
	if len(list) > maxShared {
		return nil, fmt.Errorf("preshared: %d keys; at most %d", len(list), maxShared)
	}
	for _, s := range list {
		if s.Peer == "" || s.Slot >= intent.Slots || len(s.Key) != len(secret{}) || secret(s.Key) == (secret{}) {
			return nil, fmt.Errorf("preshared: a key of %q, slot %d, with %d bytes: a name, slot 0 or 1, and 32 bytes are needed", s.Peer, s.Slot, len(s.Key))
		}
		if len(s.Own) != len(intent.Key{}) || len(s.Theirs) != len(intent.Key{}) {
			return nil, fmt.Errorf("preshared: the key of %q, slot %d, is not of two WireGuard keys of 32 bytes", s.Peer, s.Slot)
		}
		of := Tunnel{Peer: s.Peer, Slot: s.Slot, Own: intent.Key(s.Own), Theirs: intent.Key(s.Theirs)}
		out = append(out, newShared(of, secret(s.Key), time.Unix(s.Made, 0)))
	}
	return out, nil
}
