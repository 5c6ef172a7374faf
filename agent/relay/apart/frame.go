package apart

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/weft-net/weft/agent/mesh"
	wire "github.com/weft-net/weft/proto/relay"
)

// Bounds of what is said, in bytes.
const (
	maxFrame = 1 << 20
	maxBatch = 256 << 10 // of peers in one message, begun
)

// Kinds of frames. One of another kind is skipped: a later release may know it.
const (
	kindMessage = 1
	kindProbe   = 2
)

// probe is one on its way over a relay.
type probe struct {
	via  mesh.Via
	peer string
	slot uint8
	data []byte
}

// appendFrame appends a frame of a kind.
func appendFrame(b []byte, kind byte, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(payload)))
	return append(append(b, kind), payload...)
}

// appendMessage appends the frame of a message.
func appendMessage(b []byte, m message) ([]byte, error) {
	payload, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("apart: encode a message: %w", err)
	}
	if len(payload) >= maxFrame {
		return nil, fmt.Errorf("apart: a message has %d bytes, of at most %d", len(payload), maxFrame-1)
	}
	return appendFrame(b, kindMessage, payload), nil
}

// appendProbe appends the frame of a probe: its slot, three names with a byte of length
// each, and what it says.
func appendProbe(b []byte, p probe) []byte {
	payload := []byte{p.slot}
	for _, name := range []string{p.peer, p.via.Server, p.via.Node} {
		payload = append(append(payload, byte(len(name))), name...)
	}
	return appendFrame(b, kindProbe, append(payload, p.data...))
}

// errProbe refuses a probe that is cut off, or names nobody.
var errProbe = errors.New("apart: a probe is cut off, or names nobody")

// parseProbe reads what appendProbe writes. data points into b.
func parseProbe(b []byte) (p probe, err error) {
	if len(b) == 0 || b[0] > 1 {
		return probe{}, errProbe
	}
	p.slot, b = b[0], b[1:]
	for _, name := range []*string{&p.peer, &p.via.Server, &p.via.Node} {
		if len(b) == 0 || len(b) < 1+int(b[0]) || int(b[0]) > wire.MaxName {
			return probe{}, errProbe
		}
		*name, b = string(b[1:1+b[0]]), b[1+b[0]:]
	}
	if p.peer == "" || (p.via.Server == "") == (p.via.Node == "") || len(b) == 0 || len(b) > wire.MaxProbe {
		return probe{}, errProbe
	}
	p.data = b
	return p, nil
}

// readFrame reads one frame. The payload is good until the next, for which buf is used
// again.
func readFrame(r io.Reader, buf []byte) (kind byte, payload, next []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, buf, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return 0, nil, buf, fmt.Errorf("apart: a frame has %d bytes: 1 to %d", n, maxFrame)
	}
	n--
	if int(n) > cap(buf) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, nil, buf, err
	}
	return head[4], buf, buf, nil
}
