package line

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Protocol is what TLS calls this (ALPN).
const Protocol = "weft-sync"

const (
	headBytes = 4
	last      = 1 << 31  // in a head: the frame is a Status
	chunk     = 32 << 10 // that is written, or taken memory for, at a time
	large     = 8 << 10  // of which no copy is made to write it
	maxStatus = 64 << 10 // bytes
	farewell  = time.Second
)

// ErrMessage is of bytes that came whole and are no message.
var ErrMessage = errors.New("line: not a message")

// Conn is one end. One goroutine may receive while others send.
type Conn struct {
	conn net.Conn
	head [headBytes]byte // the receiver's

	mu  sync.Mutex
	out *[]byte // what was not written yet; nil at rest
	bad error   // of the first write that failed; there is no other after it

	ending sync.Mutex // of the deadlines
	ended  bool       // End sets them now
}

// New speaks over a connection.
func New(conn net.Conn) *Conn { return &Conn{conn: conn} }

// buffers are lent for as long as something is written or read.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func giveBack(b *[]byte) {
	if cap(*b) <= 2*chunk {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// Send queues a message. It is on its way once Flush was called; before that, if
// there is much. A large one that is encoded already, as unknown fields, is written
// as it is: to thousands of agents the same bytes go, and not a copy for each that
// waits for its agent to read.
func (c *Conn) Send(m proto.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad != nil {
		return c.bad
	}
	if raw := m.ProtoReflect().GetUnknown(); len(raw) >= large && len(raw) < last && proto.Size(m) == len(raw) {
		return c.pass(raw)
	}
	if err := c.put(m, 0); err != nil {
		return err
	}
	if len(*c.out) >= chunk {
		return c.write()
	}
	return nil
}

// Flush sends what is queued.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write()
}

// pass writes a message that is encoded, behind what is queued. c.mu is held.
func (c *Conn) pass(raw []byte) error {
	if c.out == nil {
		c.out = buffers.Get().(*[]byte)
	}
	*c.out = binary.BigEndian.AppendUint32(*c.out, uint32(len(raw)))
	if err := c.write(); err != nil {
		return err
	}
	_, c.bad = c.conn.Write(raw)
	return c.bad
}

// put queues a frame. c.mu is held.
func (c *Conn) put(m proto.Message, flag uint32) error {
	if c.out == nil {
		c.out = buffers.Get().(*[]byte)
	}
	at := len(*c.out)
	b, err := proto.MarshalOptions{}.MarshalAppend(append(*c.out, 0, 0, 0, 0), m)
	if err != nil {
		return fmt.Errorf("line: %w", err)
	}
	if len(b)-at-headBytes >= last {
		return fmt.Errorf("line: a message of %d bytes", len(b)-at-headBytes)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-headBytes)|flag)
	*c.out = b
	return nil
}

// write writes what is queued. A write that fails may have left a part of a frame:
// nothing follows it, as the other end would take it for the rest. c.mu is held.
func (c *Conn) write() error {
	if c.out == nil {
		return c.bad
	}
	if c.bad == nil {
		_, c.bad = c.conn.Write(*c.out)
	}
	giveBack(c.out)
	c.out = nil
	return c.bad
}

// Receive takes the next message, of at most so many bytes. When the other end has
// ended the stream the error is what it said, a gRPC status; io.EOF if that was OK.
func (c *Conn) Receive(m proto.Message, most int) error {
	if _, err := io.ReadFull(c.conn, c.head[:]); err != nil {
		return fmt.Errorf("line: %w", err)
	}
	head := binary.BigEndian.Uint32(c.head[:])
	size := int(head &^ last)
	if head&last != 0 {
		most = maxStatus
	}
	if size > most {
		return fmt.Errorf("%w: %d bytes; at most %d are taken", ErrMessage, size, most)
	}
	b := buffers.Get().(*[]byte)
	defer giveBack(b)
	if err := c.read(b, size); err != nil {
		return err
	}
	if head&last != 0 {
		return ended(*b)
	}
	if err := proto.Unmarshal(*b, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return nil
}

// read takes so many bytes. Memory grows with what came, not with what a head says.
func (c *Conn) read(b *[]byte, size int) error {
	for have := 0; have < size; have = len(*b) {
		part := min(size-have, max(chunk, have))
		*b = append(*b, make([]byte, part)...)
		if _, err := io.ReadFull(c.conn, (*b)[have:]); err != nil {
			return fmt.Errorf("line: within a message: %w", err)
		}
	}
	return nil
}

func ended(b []byte) error {
	var s spb.Status
	if err := proto.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: the last: %w", ErrMessage, err)
	}
	if err := status.ErrorProto(&s); err != nil {
		return err
	}
	return io.EOF
}

// Interrupt ends a Receive that waits, and gives a Send that does a moment more.
func (c *Conn) Interrupt() {
	c.ending.Lock()
	defer c.ending.Unlock()
	if c.ended {
		return
	}
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewell))
}

// End says why the stream ends, waits for the other end to hear it, and closes.
// What is closed with something unread is reset, and then the word may be lost
// (RFC 9293, section 3.10.4).
func (c *Conn) End(why error) {
	defer c.conn.Close()
	c.ending.Lock()
	c.ended = true
	_ = c.conn.SetDeadline(time.Now().Add(farewell))
	c.ending.Unlock()
	if c.say(why) != nil {
		return
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c.conn, 1<<20))
	}
}

func (c *Conn) say(why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.put(status.Convert(why).Proto(), last); err != nil {
		return err
	}
	return c.write()
}

// Close ends it without a word.
func (c *Conn) Close() error { return c.conn.Close() }
