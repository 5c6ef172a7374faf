package disco

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Magic is what a packet begins with, big-endian.
const Magic = 0xf7776401

// Size is that of every packet, in bytes.
const Size = head + nonce + body + tag

// Lengths in bytes.
const (
	head  = 4 + 8
	nonce = 12
	body  = 4 + 4 + 16 + 8 + 8 + 8
	tag   = 16
)

// Kind is what a packet is.
type Kind uint8

// The kinds.
const (
	Ping Kind = 1
	Pong Kind = 2
)

// Flags. The others have no meaning yet.
const (
	nominate = 1 << 0
	call     = 1 << 1
	counted  = 1 << 2
)

// Note is what a sender says beside. Sends is opaque here: by which devices it sends
// packets of pods, in one octet that package paths knows.
type Note struct {
	Nominate bool // of a ping: the sender sends here from now on
	Call     bool // of a ping: it asks for probes at once
	// Opened is of a ping over a relay: an address of the receiver's, to which the sender
	// has just opened the router before itself; zero: none.
	Opened netip.AddrPort
	Sends  byte
}

// Errors of packets that do not count.
var (
	ErrNotOurs = errors.New("disco: not a packet of this protocol")
	ErrForged  = errors.New("disco: not sealed by the peer")
	ErrReplay  = errors.New("disco: seen before, or of an earlier life")
)

// packet is what is sealed.
type packet struct {
	kind     Kind
	note     Note
	counted  bool           // of a pong: the ping was fresh
	observed netip.AddrPort // of a pong: where the ping came from; zero: over a relay
	session  uint64         // of the one that pings
	number   uint64         // of the ping in its session
	token    uint64         // of the one that answers, for the session; 0: not known
}

// IDOf reads what names the pair of a packet. It is cheap, and proves nothing.
func IDOf(b []byte) (ID, error) {
	if len(b) != Size || binary.BigEndian.Uint32(b) != Magic {
		return 0, ErrNotOurs
	}
	return ID(binary.BigEndian.Uint64(b[4:])), nil
}

// seal makes a packet of p.
func (k Keys) seal(p packet) []byte {
	b := make([]byte, head, Size)
	binary.BigEndian.PutUint32(b, Magic)
	binary.BigEndian.PutUint64(b[4:], uint64(k.outID))
	m := make([]byte, body)
	m[0] = byte(p.kind)
	if p.note.Nominate {
		m[1] |= nominate
	}
	if p.note.Call {
		m[1] |= call
	}
	if p.counted {
		m[1] |= counted
	}
	m[2] = p.note.Sends
	told := p.observed
	if p.kind == Ping {
		told = p.note.Opened
	}
	if told.IsValid() {
		binary.BigEndian.PutUint16(m[4:], told.Port())
		a := told.Addr().As16()
		copy(m[8:], a[:])
	}
	binary.BigEndian.PutUint64(m[24:], p.session)
	binary.BigEndian.PutUint64(m[32:], p.number)
	binary.BigEndian.PutUint64(m[40:], p.token)
	return k.out.Seal(b, nil, m, b)
}

// open reads a packet of the peer's.
func (k Keys) open(b []byte) (packet, error) {
	if id, err := IDOf(b); err != nil {
		return packet{}, err
	} else if id != k.inID {
		return packet{}, ErrForged
	}
	m, err := k.in.Open(nil, nil, b[head:], b[:head])
	if err != nil {
		return packet{}, ErrForged
	}
	p := packet{
		kind: Kind(m[0]), note: Note{Nominate: m[1]&nominate != 0, Call: m[1]&call != 0, Sends: m[2]},
		counted: m[1]&counted != 0,
		session: binary.BigEndian.Uint64(m[24:]), number: binary.BigEndian.Uint64(m[32:]), token: binary.BigEndian.Uint64(m[40:]),
	}
	if a, port := netip.AddrFrom16([16]byte(m[8:])), binary.BigEndian.Uint16(m[4:]); port != 0 && !a.IsUnspecified() {
		told := netip.AddrPortFrom(a.Unmap(), port)
		if p.kind == Ping {
			p.note.Opened = told
		} else {
			p.observed = told
		}
	}
	if p.kind != Ping && p.kind != Pong {
		return packet{}, fmt.Errorf("disco: kind %d: this release knows ping and pong", m[0])
	}
	return p, nil
}
