package disco

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Key is a WireGuard key of 32 bytes.
type Key = [32]byte

// ID names the pair and direction of a packet.
type ID uint64

// Keys are those of one pair of WireGuard keys.
type Keys struct {
	in, out     cipher.AEAD
	inID, outID ID
}

// Shared is X25519 of an own private and a peer's public key. A public key of low order
// is an error.
func Shared(private, public Key) (Key, error) {
	p, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return Key{}, fmt.Errorf("disco: private key: %w", err)
	}
	q, err := ecdh.X25519().NewPublicKey(public[:])
	if err != nil {
		return Key{}, fmt.Errorf("disco: public key: %w", err)
	}
	s, err := p.ECDH(q)
	if err != nil {
		return Key{}, fmt.Errorf("disco: public key: %w; it is no key that WireGuard made", err)
	}
	return Key(s), nil
}

// Derive makes the keys of a pair from Shared and the two public keys.
func Derive(shared, own, peer Key) (Keys, error) {
	prk, err := hkdf.Extract(sha256.New, shared[:], nil)
	if err != nil {
		return Keys{}, fmt.Errorf("disco: derive: %w", err)
	}
	var k Keys
	if k.out, k.outID, err = oneWay(prk, own, peer); err != nil {
		return Keys{}, err
	}
	k.in, k.inID, err = oneWay(prk, peer, own)
	return k, err
}

// oneWay is the key of packets from one to the other, and what names it.
func oneWay(prk []byte, from, to Key) (cipher.AEAD, ID, error) {
	info := bytes.Join([][]byte{[]byte("weft disco 1"), from[:], to[:]}, nil)
	b, err := hkdf.Expand(sha256.New, prk, string(info), 32+8)
	if err != nil {
		return nil, 0, fmt.Errorf("disco: derive: %w", err)
	}
	block, err := aes.NewCipher(b[:32])
	if err != nil {
		return nil, 0, fmt.Errorf("disco: derive: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, 0, fmt.Errorf("disco: derive: %w", err)
	}
	return aead, ID(binary.BigEndian.Uint64(b[32:])), nil
}

// In is what names the packets that the peer sends.
func (k Keys) In() ID { return k.inID }
