package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Where relays are.
const (
	Path = "/v1/relay" // of a server, on its TLS port: a websocket of package tunnel
	Port = 7449        // UDP, of a node's fabric addresses
)

// Headers of GET Path, and of its answer.
const (
	HeaderInstance = "Weft-Instance" // of the agent's process: drawn at each of its starts
	HeaderProtocol = "Weft-Protocol" // number of what the agent says
	HeaderServer   = "Weft-Server"   // name of the server that answers
)

// Sizes, in bytes.
const (
	// MaxFrame is the longest frame: what one datagram of a tunnel carries.
	MaxFrame = 16 << 10
	// MaxName is the longest name of a node.
	MaxName = 253
	// MaxHead is what goes before the payload, at most.
	MaxHead = headFixed + MaxName
	// MaxPayload is the longest payload that fits with any name.
	MaxPayload = MaxFrame - MaxHead
	// MaxProbe is the longest probe.
	MaxProbe = 1500

	headFixed = 5
)

// MaxPackets is how many packets one frame has at most: as many as the kernel takes
// as segments of one datagram (UDP_MAX_SEGMENTS, Linux include/linux/udp.h; 64 before
// 6.9).
const MaxPackets = 64

// Kind is what a frame is.
type Kind uint8

// The kinds. One that is not known is skipped: later releases may add some.
const (
	Packets Kind = 1 // WireGuard's, for the device of a slot
	Probe   Kind = 2 // of the pair's paths, for who probes in a slot
	Absent  Kind = 3 // from a relay: the node that is named has no connection to it
)

// Frame is one frame. It points into the bytes that it was read from.
type Frame struct {
	Kind    Kind
	Slot    uint8  // of the WireGuard device: 0 or 1
	Size    int    // of Packets: bytes of each, the last may have fewer
	Name    []byte // of a node: to a relay whom it is for, from a relay whom it is of
	Payload []byte
}

// Refusals of Parse. They hold no detail: who sends garbage shall cost nothing.
var (
	errShort   = errors.New("relay: a frame is shorter than what it says")
	errLong    = fmt.Errorf("relay: a frame has more than %d bytes", MaxFrame)
	errSlot    = errors.New("relay: a frame names a slot other than 0 and 1")
	errName    = fmt.Errorf("relay: a frame names a node by 0 or more than %d bytes", MaxName)
	errPackets = fmt.Errorf("relay: a frame has no packets, or more than %d", MaxPackets)
	errProbe   = fmt.Errorf("relay: a probe has 0 or more than %d bytes", MaxProbe)
	errAbsent  = errors.New("relay: a frame that says that a node is absent carries something")
)

// AppendHead appends what goes before the payload of a frame.
func AppendHead[T ~string | ~[]byte](b []byte, kind Kind, slot uint8, size int, name T) []byte {
	b = append(b, byte(kind), slot, 0, 0, byte(len(name)))
	binary.BigEndian.PutUint16(b[len(b)-3:], uint16(size))
	return append(b, name...)
}

// Parse reads a frame. Of a kind that is not known, nothing but the kind is read, and
// that is no error.
func Parse(b []byte) (Frame, error) {
	if len(b) < headFixed {
		return Frame{}, errShort
	}
	if len(b) > MaxFrame {
		return Frame{}, errLong
	}
	f := Frame{Kind: Kind(b[0]), Slot: b[1], Size: int(binary.BigEndian.Uint16(b[2:]))}
	if f.Kind < Packets || f.Kind > Absent {
		return Frame{Kind: f.Kind}, nil
	}
	n := int(b[4])
	switch {
	case f.Slot > 1:
		return Frame{}, errSlot
	case n == 0 || n > MaxName:
		return Frame{}, errName
	case headFixed+n > len(b):
		return Frame{}, errShort
	}
	f.Name, f.Payload = b[headFixed:headFixed+n], b[headFixed+n:]
	return f, f.check()
}

// check refuses what a kind cannot be.
func (f Frame) check() error {
	n := len(f.Payload)
	switch f.Kind {
	case Packets:
		if f.Size == 0 || n == 0 || f.Size > n || (n+f.Size-1)/f.Size > MaxPackets {
			return errPackets
		}
	case Probe:
		if n == 0 || n > MaxProbe || f.Size != 0 {
			return errProbe
		}
	case Absent:
		if n != 0 || f.Size != 0 {
			return errAbsent
		}
	}
	return nil
}

// Count is how many packets a frame of Packets has.
func (f Frame) Count() int {
	if f.Kind != Packets {
		return 0
	}
	return (len(f.Payload) + f.Size - 1) / f.Size
}
