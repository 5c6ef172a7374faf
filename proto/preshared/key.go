package preshared

import (
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/weft-net/weft/proto/intent"
)

// Names of what is derived: nothing made for one use is of any for another.
const (
	pairLabel = "weft pre-shared key 1: pair"
	macLabel  = "weft pre-shared key 1: messages"
	keyLabel  = "weft pre-shared key 1: key"
)

// End is one end of a tunnel.
type End struct {
	Node string
	Key  intent.Key // of its WireGuard device of the slot
}

// Pair stands for a tunnel: both nodes, the lower-named first, both keys, and the slot.
func Pair(lower, higher End, slot uint8) [32]byte {
	b := []byte(pairLabel)
	for _, e := range [...]End{lower, higher} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.Node)))
		b = append(append(b, e.Node...), e.Key[:]...)
	}
	return sha256.Sum256(append(b, slot))
}

// MACKey is the key of messages in a tunnel: static is X25519 of its two WireGuard
// keys (disco.Shared), and the public ones are the lower-named node's first.
func MACKey(static [32]byte, lower, higher intent.Key) ([32]byte, error) {
	return derive(static[:], macLabel, lower[:], higher[:])
}

// Exchange is the lower-named end's part of one agreement.
type Exchange struct {
	own *mlkem.DecapsulationKey768
	key []byte // for the other end
}

// NewExchange draws the keys of one agreement.
func NewExchange() (*Exchange, error) {
	own, err := mlkem.GenerateKey768()
	if err != nil {
		return nil, fmt.Errorf("preshared: %w", err)
	}
	return &Exchange{own, own.EncapsulationKey().Bytes()}, nil
}

// Offered is the encapsulation key, of mlkem.EncapsulationKeySize768 bytes.
func (e *Exchange) Offered() []byte { return e.key }

// ID names the exchange.
func (e *Exchange) ID() [32]byte { return IDOf(e.key) }

// IDOf is what stands for an encapsulation key, or for the key agreed on.
func IDOf(b []byte) [32]byte { return sha256.Sum256(b) }

// Finish is the key, from the other end's ciphertext.
func (e *Exchange) Finish(pair [32]byte, ciphertext []byte) ([32]byte, error) {
	secret, err := e.own.Decapsulate(ciphertext)
	if err != nil {
		return [32]byte{}, fmt.Errorf("preshared: ciphertext: %w", err)
	}
	return keyOf(secret, pair, e.key, ciphertext)
}

// Respond is the other end's part: the key, and the ciphertext for who offered.
func Respond(pair [32]byte, offered []byte) (key [32]byte, ciphertext []byte, err error) {
	k, err := mlkem.NewEncapsulationKey768(offered)
	if err != nil {
		return key, nil, fmt.Errorf("preshared: encapsulation key: %w", err)
	}
	secret, ciphertext := k.Encapsulate()
	key, err = keyOf(secret, pair, offered, ciphertext)
	return key, ciphertext, err
}

// keyOf binds the secret to the tunnel, and to all that was said.
func keyOf(secret []byte, pair [32]byte, offered, ciphertext []byte) ([32]byte, error) {
	o, c := sha256.Sum256(offered), sha256.Sum256(ciphertext)
	return derive(secret, keyLabel, pair[:], o[:], c[:])
}

// derive is HKDF-SHA256 (RFC 5869) of parts of fixed lengths.
func derive(secret []byte, label string, parts ...[]byte) ([32]byte, error) {
	info := []byte(label)
	for _, p := range parts {
		info = append(info, p...)
	}
	b, err := hkdf.Key(sha256.New, secret, nil, string(info), 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("preshared: %w", err)
	}
	return [32]byte(b), nil
}
