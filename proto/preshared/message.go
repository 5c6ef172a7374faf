package preshared

import (
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/weft-net/weft/proto/intent"
)

// Port is the UDP port on fabric addresses, inside of tunnels only.
const Port = 7448

// Kind is what a message says.
type Kind uint8

// The kinds. The lower-named node sends Offer and Have, the other the rest.
const (
	Offer   Kind = 1 + iota // half of an encapsulation key
	Answer                  // half of a ciphertext
	Have                    // the key of this id is on my disk
	Agreed                  // and on mine
	Unknown                 // I have no key of this id
)

// String names it.
func (k Kind) String() string {
	if k < Offer || k > Unknown {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return [...]string{"offer", "answer", "have", "agreed", "unknown"}[k-Offer]
}

// Lower tells whether it is the lower-named node that sends it.
func (k Kind) Lower() bool { return k == Offer || k == Have }

// size is what the body of one message has, in bytes.
func (k Kind) size() int {
	switch k {
	case Offer:
		return mlkem.EncapsulationKeySize768 / Halves
	case Answer:
		return mlkem.CiphertextSize768 / Halves
	}
	return 0
}

// Halves is in how many messages an Offer and an Answer come.
const Halves = 2

// Message is one datagram.
type Message struct {
	Kind Kind
	Slot uint8 // for which the key is
	Half uint8
	Pair [32]byte
	ID   [32]byte
	Body []byte
}

// Sizes in bytes.
const (
	head = 3 + 1 + 4 + 32 + 32
	mac  = sha256.Size
	// MaxSize of a datagram.
	MaxSize = head + mlkem.EncapsulationKeySize768/Halves + mac
)

// version of the messages. Another one is refused: both ends report what they know as
// a capability of their nodes.
const version = 1

var magic = [3]byte{'w', 'f', 'k'}

// Errors of Decode.
var (
	ErrMalformed = errors.New("preshared: not a message of this release")
	ErrForged    = errors.New("preshared: the message is not authentic")
)

// Encode is the message as a datagram, with a MAC under a key of MACKey's.
func (m Message) Encode(key [32]byte) []byte {
	b := make([]byte, 0, head+len(m.Body)+mac)
	b = append(b, magic[:]...)
	b = append(b, version, byte(m.Kind), m.Slot, m.Half, 0)
	b = append(b, m.Pair[:]...)
	b = append(b, m.ID[:]...)
	b = append(b, m.Body...)
	return append(b, sum(key, b)...)
}

func sum(key [32]byte, b []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(b)
	return h.Sum(nil)
}

// Decode reads what Encode writes. The body is b's.
func Decode(b []byte, key [32]byte) (Message, error) {
	if len(b) < head+mac || [3]byte(b) != magic || b[3] != version || b[7] != 0 {
		return Message{}, ErrMalformed
	}
	m := Message{Kind: Kind(b[4]), Slot: b[5], Half: b[6], Pair: [32]byte(b[8:]), ID: [32]byte(b[40:]), Body: b[head : len(b)-mac]}
	halves := uint8(1)
	if m.Kind.size() > 0 {
		halves = Halves
	}
	if m.Kind < Offer || m.Kind > Unknown || m.Slot >= intent.Slots || m.Half >= halves || len(m.Body) != m.Kind.size() {
		return Message{}, ErrMalformed
	}
	if !hmac.Equal(sum(key, b[:len(b)-mac]), b[len(b)-mac:]) {
		return Message{}, ErrForged
	}
	return m, nil
}

// Split is a whole body as messages, which have what m has otherwise.
func (m Message) Split(body []byte) []Message {
	out := make([]Message, Halves)
	n := len(body) / Halves
	for i := range out {
		out[i] = m
		out[i].Half, out[i].Body = uint8(i), body[i*n:(i+1)*n]
	}
	return out
}

// Whole collects the halves of one body. The zero value has none.
type Whole struct {
	id   [32]byte
	have [Halves]bool
	body []byte
}

// Add takes a half, and answers the body once it is complete. A half of another
// exchange begins anew.
func (w *Whole) Add(m Message) ([]byte, bool) {
	n := m.Kind.size()
	if w.id != m.ID || len(w.body) != n*Halves {
		*w = Whole{id: m.ID, body: make([]byte, n*Halves)}
	}
	copy(w.body[int(m.Half)*n:], m.Body)
	w.have[m.Half] = true
	return w.body, w.have == [Halves]bool{true, true}
}
