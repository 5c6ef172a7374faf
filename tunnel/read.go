package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/gorilla/websocket"
)

// read takes in messages until the session ends, and says why it did.
func (c *Conn) read() error {
	var head [headerSize]byte
	for {
		c.hear()
		mode, r, err := c.link.ws.NextReader()
		if err != nil {
			return readError(err)
		}
		if mode != websocket.BinaryMessage {
			return errors.New("tunnel: the other end sent text")
		}
		if err := c.takeMessage(r, head[:]); err != nil {
			return err
		}
	}
}

// takeMessage takes in the frames of one message, and says so if there were datagrams
// among them; head is where their headers go.
func (c *Conn) takeMessage(r io.Reader, head []byte) error {
	datagrams := false
	for {
		if _, err := io.ReadFull(r, head); err == io.EOF {
			if datagrams && c.config.Taken != nil {
				c.config.Taken()
			}
			return nil
		} else if err != nil {
			return readError(err)
		}
		c.hear()
		h, err := parseHeader(head)
		if err != nil {
			return err
		}
		if err := c.take(h, r); err != nil {
			return err
		}
		datagrams = datagrams || h.kind == kindDatagram
	}
}

// hear notes a sign of life.
func (c *Conn) hear() { c.heard.Store(int64(c.clock())) }

func readError(err error) error {
	if closed := (*websocket.CloseError)(nil); errors.As(err, &closed) {
		if closed.Code == websocket.CloseAbnormalClosure { // gorilla's word for the connection's end
			return fmt.Errorf("tunnel: the connection was lost: %w", io.ErrUnexpectedEOF)
		}
		return fmt.Errorf("%w: %s", ErrPeerClosed, closed.Error())
	}
	return fmt.Errorf("tunnel: read: %w", err)
}

// take takes in one frame. An error ends the session.
func (c *Conn) take(h header, r io.Reader) error {
	switch h.kind {
	case kindData:
		return c.takeData(h, r)
	case kindDatagram:
		return c.takeDatagram(h, r)
	}
	if h.kind > kindDatagram {
		c.stray()
		return discard(r, h.length)
	}
	payload := newChunk(max(h.length, 1))
	defer payload.free()
	b := payload.buf[:h.length]
	if _, err := io.ReadFull(r, b); err != nil {
		return readError(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	var err error
	if h.stream == 0 {
		err = c.takeSession(h.kind, b)
	} else {
		err = c.takeControl(h, b)
	}
	c.kick()
	return err
}

// takeSession takes in a control frame of the session; with mu held.
func (c *Conn) takeSession(k kind, b []byte) error {
	switch k {
	case kindPing:
		c.sched.echo = true
		copy(c.pings.echo[:], b)
	case kindPong:
		c.pings.pong(b, c.clock())
	case kindGoAway:
		why := parseReason(b)
		if why.Code != Draining {
			return fmt.Errorf("%w: %s", ErrPeerClosed, why.Code)
		}
		c.away()
	}
	return nil
}

// takeControl takes in a control frame of a stream; with mu held.
func (c *Conn) takeControl(h header, b []byte) error {
	if h.kind == kindOpen {
		return c.takeOpen(h.stream, b)
	}
	s, err := c.find(h)
	if s == nil || err != nil {
		return err
	}
	switch h.kind {
	case kindAccept:
		s.takeAccept(int64(binary.BigEndian.Uint32(b)))
	case kindRefuse:
		s.takeRefuse(parseReason(b))
	case kindWindow:
		s.takeWindow(int64(binary.BigEndian.Uint32(b)))
	case kindFin:
		s.takeFin()
	case kindReset:
		s.takeReset(parseReason(b))
	}
	return nil
}

// find returns the stream that a frame names, nil if it is gone. One that never was
// means that the two ends do not agree on anything any more; with mu held.
func (c *Conn) find(h header) (*Stream, error) {
	if s := c.streams[h.stream]; s != nil {
		return s, nil
	}
	last := c.theirs
	if c.ours(h.stream) {
		last = c.next - 2
	}
	if h.stream > last || c.next < 3 && c.ours(h.stream) {
		return nil, fmt.Errorf("tunnel: a frame of kind %d names stream %d, which was never opened", h.kind, h.stream)
	}
	c.stats.Strays++
	return nil, nil
}

func (c *Conn) stray() {
	c.mu.Lock()
	c.stats.Strays++
	c.mu.Unlock()
}

// discard reads n bytes and throws them away.
func discard(r io.Reader, n int) error {
	if n == 0 {
		return nil
	}
	waste := newChunk(min(n, 16<<10))
	defer waste.free()
	for n > 0 {
		m, err := io.ReadFull(r, waste.buf[:min(n, len(waste.buf))])
		if n -= m; err != nil {
			return readError(err)
		}
	}
	return nil
}

// takeData takes in the bytes of a stream.
func (c *Conn) takeData(h header, r io.Reader) error {
	c.mu.Lock()
	s, err := c.find(h)
	wanted := s != nil && err == nil && s.expect(h.length)
	c.kick()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if !wanted {
		return discard(r, h.length)
	}
	for left := h.length; left > 0; {
		n := left
		if left > 4<<10 {
			n = floor(left)
		}
		piece := newChunk(n)
		if piece.end, err = c.readFull(r, piece.buf[:n]); err != nil {
			c.budget.drop(int64(left))
			return readError(err)
		}
		s.deliver(piece)
		left -= n
	}
	return nil
}

// readFull is io.ReadFull, to which every byte is a sign of life: a large frame may
// take long on a slow way.
func (c *Conn) readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
		c.hear()
	}
	if n == len(b) {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
