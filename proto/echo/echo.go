package echo

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Magic is what a datagram begins with, big-endian.
const Magic = 0xf7776502

// Sizes in bytes, of every datagram and of a cookie.
const (
	Size       = 72
	CookieSize = 32
)

// Offsets of what a datagram holds.
const (
	atKind   = 4
	atID     = 8
	atCookie = 16
	atPort   = 16
	atAddr   = 24
)

const (
	kindRequest = 1
	kindReply   = 2
)

// Errors of datagrams that are none.
var (
	ErrNotOurs = errors.New("echo: not a datagram of this protocol")
	ErrAddress = errors.New("echo: a reply without an address")
)

// Cookie proves that the asker has a stream.
type Cookie [CookieSize]byte

// Request asks.
type Request struct {
	ID     uint64 // drawn
	Cookie Cookie
}

// Reply says from where the request of an id came.
type Reply struct {
	ID       uint64
	Observed netip.AddrPort
}

// Bytes encodes it.
func (r Request) Bytes() []byte {
	b := begin(kindRequest, r.ID)
	copy(b[atCookie:], r.Cookie[:])
	return b
}

// Bytes encodes it.
func (r Reply) Bytes() []byte {
	b := begin(kindReply, r.ID)
	a := r.Observed.Addr().As16()
	binary.BigEndian.PutUint16(b[atPort:], r.Observed.Port())
	copy(b[atAddr:], a[:])
	return b
}

// ParseRequest reads a request.
func ParseRequest(b []byte) (Request, error) {
	if !is(b, kindRequest) {
		return Request{}, ErrNotOurs
	}
	return Request{ID: binary.BigEndian.Uint64(b[atID:]), Cookie: Cookie(b[atCookie:])}, nil
}

// ParseReply reads a reply.
func ParseReply(b []byte) (Reply, error) {
	if !is(b, kindReply) {
		return Reply{}, ErrNotOurs
	}
	a, port := netip.AddrFrom16([16]byte(b[atAddr:])).Unmap(), binary.BigEndian.Uint16(b[atPort:])
	if port == 0 || a.IsUnspecified() {
		return Reply{}, ErrAddress
	}
	return Reply{ID: binary.BigEndian.Uint64(b[atID:]), Observed: netip.AddrPortFrom(a, port)}, nil
}

func begin(kind byte, id uint64) []byte {
	b := make([]byte, Size)
	binary.BigEndian.PutUint32(b, Magic)
	b[atKind] = kind
	binary.BigEndian.PutUint64(b[atID:], id)
	return b
}

func is(b []byte, kind byte) bool {
	return len(b) == Size && binary.BigEndian.Uint32(b) == Magic && b[atKind] == kind
}
