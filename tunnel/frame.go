package tunnel

import (
	"encoding/binary"
	"fmt"
)

// Protocol is the websocket subprotocol that both ends must name. The number is
// the version of PROTOCOL.md.
const Protocol = "weft.tunnel.v1"

// kind is the first byte of a frame (PROTOCOL.md, 2).
type kind byte

const (
	kindData kind = iota
	kindOpen
	kindAccept
	kindRefuse
	kindWindow
	kindFin
	kindReset
	kindPing
	kindPong
	kindGoAway
	kindDatagram
)

const (
	headerSize = 8
	// MaxTarget is the longest target of a stream, in bytes.
	MaxTarget = 4 << 10
	// maxReason is the longest text of a refusal or a reset; longer ones are cut.
	maxReason = 1 << 10
	maxData   = 64 << 10
	// maxDatagram is the longest datagram: a jumbo frame with everything around it.
	maxDatagram = 16 << 10
	openFixed   = 8
	maxWindow   = 1<<31 - 1
	maxMessage  = 1 << 20
)

// header is what each frame begins with.
type header struct {
	kind   kind
	length int    // of the payload, bytes
	stream uint32 // 0: the session
}

// put encodes h into the first 8 bytes of b.
func (h header) put(b []byte) {
	_ = b[headerSize-1]
	binary.BigEndian.PutUint32(b, uint32(h.kind)<<24|uint32(h.length))
	binary.BigEndian.PutUint32(b[4:], h.stream)
}

// parseHeader decodes 8 bytes and checks the length against the kind. An unknown
// kind is none of our business as long as it is not too long: it is skipped.
func parseHeader(b []byte) (header, error) {
	word := binary.BigEndian.Uint32(b)
	h := header{kind: kind(word >> 24), length: int(word & 0xffffff), stream: binary.BigEndian.Uint32(b[4:])}
	low, high := 0, maxData
	switch h.kind {
	case kindOpen:
		low, high = openFixed, openFixed+MaxTarget
	case kindAccept, kindWindow:
		low, high = 4, 4
	case kindRefuse, kindReset, kindGoAway:
		low, high = 1, 1+maxReason
	case kindFin:
		high = 0
	case kindPing, kindPong:
		low, high = 8, 8
	case kindDatagram:
		high = maxDatagram
	}
	if h.length < low || h.length > high {
		return h, fmt.Errorf("tunnel: a frame of kind %d has %d bytes, not %d to %d", h.kind, h.length, low, high)
	}
	if session := h.kind >= kindPing && h.kind <= kindDatagram; session != (h.stream == 0) && h.kind <= kindDatagram {
		return h, fmt.Errorf("tunnel: a frame of kind %d names stream %d", h.kind, h.stream)
	}
	return h, nil
}

// appendFrame appends a whole frame to b.
func appendFrame(b []byte, k kind, stream uint32, payload ...[]byte) []byte {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	at := len(b)
	b = append(b, make([]byte, headerSize)...)
	header{kind: k, length: n, stream: stream}.put(b[at:])
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

// appendNumber appends a frame whose payload is one number.
func appendNumber(b []byte, k kind, stream uint32, n uint32) []byte {
	var p [4]byte
	binary.BigEndian.PutUint32(p[:], n)
	return appendFrame(b, k, stream, p[:])
}

// appendReason appends a frame whose payload is a code and a text.
func appendReason(b []byte, k kind, stream uint32, r Refusal) []byte {
	reason := r.Reason
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	return appendFrame(b, k, stream, []byte{byte(r.Code)}, []byte(reason))
}
