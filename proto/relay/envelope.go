package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"hash"
	"sync"
)

// Way is in which direction an envelope goes. It is of what is authenticated, so that
// nobody can send one back to who sent it.
type Way uint8

// The ways.
const (
	ToRelay   Way = 1
	FromRelay Way = 2
)

// Sizes of an envelope, in bytes.
const (
	tagSize     = 16
	envelopeFix = 4
	// Overhead is what an envelope adds to a frame.
	Overhead = envelopeFix + tagSize
)

// magic and version are what an envelope begins with.
const (
	magic   = 0x57
	version = 1
)

// Refusals of Open.
var (
	errEnvelope = errors.New("relay: not an envelope of this version")
	errTag      = errors.New("relay: an envelope was not sealed with the pair's key")
)

// Key seals what one node sends to another, with HMAC-SHA-256 cut to 128 bits (RFC
// 2104, section 5). It hides nothing: what is carried is sealed already, and one that
// is sent twice is thrown away by WireGuard, as any packet. It is safe for concurrent
// use.
type Key struct {
	mu  sync.Mutex
	mac hash.Hash
	sum [sha256.Size]byte
}

// NewKey derives the key for what from sends to to. shared is what only these two
// know: X25519 of their WireGuard keys (RFC 7748, section 6.1).
func NewKey(shared [32]byte, from, to string) *Key {
	m := hmac.New(sha256.New, shared[:])
	m.Write([]byte("weft relay over a node, 1\x00" + from + "\x00" + to))
	return &Key{mac: hmac.New(sha256.New, m.Sum(nil))}
}

// Begin appends what goes before the frame in an envelope. slot is that of the keys
// that Key was derived from.
func Begin(b []byte, way Way, slot uint8) []byte {
	return append(b, magic, version, byte(way), slot)
}

// Seal appends the tag to an envelope that begins at b[at:].
func (k *Key) Seal(b []byte, at int) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(b, k.tag(b[at:])...)
}

// tag is that of b; mu is held, and the next call overwrites it.
func (k *Key) tag(b []byte) []byte {
	k.mac.Reset()
	k.mac.Write(b)
	return k.mac.Sum(k.sum[:0])[:tagSize]
}

// Peek reads which way an envelope goes, and with the keys of which slot it was
// sealed: both are worth nothing before Open.
func Peek(b []byte) (way Way, slot uint8, err error) {
	if len(b) < Overhead || b[0] != magic || b[1] != version || b[3] > 1 {
		return 0, 0, errEnvelope
	}
	way = Way(b[2])
	if way != ToRelay && way != FromRelay {
		return 0, 0, errEnvelope
	}
	return way, b[3], nil
}

// Open checks the tag and returns the frame's bytes.
func (k *Key) Open(b []byte) ([]byte, error) {
	if _, _, err := Peek(b); err != nil {
		return nil, err
	}
	end := len(b) - tagSize
	k.mu.Lock()
	same := hmac.Equal(k.tag(b[:end]), b[end:])
	k.mu.Unlock()
	if !same {
		return nil, errTag
	}
	return b[envelopeFix:end], nil
}
