package tunnel

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Stream is one of a session's streams: a net.Conn whose two directions end apart
// (CloseWrite). Its methods are safe for concurrent use; io.Copy from it and to it
// copies as little as can be.
type Stream struct {
	conn *Conn
	id   uint32

	reading sync.Mutex // one reader at a time
	writing sync.Mutex // one writer at a time

	// What is below is guarded by Conn.mu.
	opening *opening // until the other end answers
	request *Request // until we do
	err     error    // how it ended, for both directions
	broken  error    // why nothing more can be written
	closed  bool     // Close was called

	in              queue
	readable        sync.Cond
	window          int64 // promised
	granted         int64 // bytes that they may have sent since the beginning
	got, taken      int64 // bytes that came, that were read
	tuned           time.Duration
	turn            uint32 // of the session's flow
	finGot          bool
	readBy, writeBy deadline
	out             queue
	writable        sync.Cond
	writers         int   // wait for room
	credit          int64 // bytes that may yet be queued
	deficit         int
	ready           bool // in a ring of the scheduler
	finWanted       bool
	finSent         bool
	marks           marks
	reply           *Refusal // goes with markRefuse and markReset
	nextReady       *Stream
	nextControl     *Stream
}

// newStream makes a stream and attaches it; with mu held.
func (c *Conn) newStream(id uint32) *Stream {
	s := &Stream{conn: c, id: id, tuned: c.clock()}
	s.readable.L, s.writable.L = &c.mu, &c.mu
	s.window = c.budget.firstWindow()
	s.granted = s.window
	c.attach(s)
	return s
}

// Read implements net.Conn.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	c := s.conn
	c.mu.Lock()
	if err := s.awaitData(); err != nil {
		c.mu.Unlock()
		return 0, err
	}
	first := s.in.head
	waits := first.bytes() // what is appended meanwhile comes behind
	c.mu.Unlock()
	n := copy(p, waits)
	c.mu.Lock()
	if s.in.head == first { // not reset meanwhile
		s.in.advance(n)
		s.consumed(n)
	}
	c.unlockAndWrite()
	return n, nil
}

// awaitData waits until something can be read; with mu held.
func (s *Stream) awaitData() error {
	for {
		switch {
		case s.readBy.passed:
			return os.ErrDeadlineExceeded
		case s.closed:
			return net.ErrClosed
		case s.in.size > 0:
			return nil
		case s.err != nil: // also after their end: what was not read is lost
			return s.err
		case s.finGot:
			return io.EOF
		}
		s.readable.Wait()
	}
}

// Write implements net.Conn. It returns when the bytes are on their way or wait in
// their turn; few can wait.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	c := s.conn
	for n < len(p) {
		c.mu.Lock()
		room, err := s.awaitRoom()
		if err != nil {
			c.mu.Unlock()
			return n, err
		}
		part := p[n:min(len(p), n+room)]
		n += len(part)
		if b := s.direct(part, nil); b != nil {
			c.mu.Unlock()
			c.sendNow(b)
			continue
		}
		s.spend(len(part))
		if len(part) <= 4<<10 {
			s.out.append(part)
		} else {
			c.mu.Unlock()
			piece := newChunk(len(part))
			piece.end = copy(piece.buf, part)
			c.mu.Lock()
			s.enqueue(piece)
		}
		s.line()
		c.unlockAndWrite()
	}
	return n, nil
}

// direct returns a batch to be sent at once, if the link is idle; the writer's role
// comes with it. With mu held.
func (s *Stream) direct(p []byte, from *chunk) *batch {
	c := s.conn
	if c.busy || c.err != nil || !c.sched.empty() || !c.link.tries() {
		return nil
	}
	c.busy = true
	s.credit -= int64(len(p))
	c.stats.BytesOut += uint64(len(p))
	b := newBatch(batchSize)
	b.data(kindData, s.id, p, from)
	return b
}

// spend accounts for n bytes that are about to wait; with mu held.
func (s *Stream) spend(n int) {
	s.credit -= int64(n)
	s.conn.sched.queued += n
	s.conn.budget.holdAnyway(int64(n))
}

// unspend gives up n bytes that waited; with mu held.
func (s *Stream) unspend(n int) {
	s.conn.sched.queued -= n
	s.conn.budget.drop(int64(n))
}

// enqueue puts a chunk that was accounted for in line; with mu held.
func (s *Stream) enqueue(piece *chunk) {
	if s.err != nil || s.finSent { // ended meanwhile
		s.unspend(piece.len())
		piece.free()
		return
	}
	s.out.push(piece)
}

// line tells the scheduler of what waits; with mu held.
func (s *Stream) line() {
	if s.err == nil && (s.out.size > 0 || s.finWanted && !s.finSent) {
		s.conn.sched.ready(s)
	}
}

// writeEnd says why nothing can be written; with mu held.
func (s *Stream) writeEnd() error {
	switch {
	case s.writeBy.passed:
		return os.ErrDeadlineExceeded
	case s.err != nil:
		return s.err
	case s.closed:
		return net.ErrClosed
	case s.finWanted:
		return io.ErrClosedPipe
	}
	return s.broken
}

// CloseWrite ends the stream in the direction of the other end, after what was
// written.
func (s *Stream) CloseWrite() error {
	s.conn.mu.Lock()
	if err := s.writeEnd(); s.err != nil || s.closed {
		s.conn.mu.Unlock()
		return err
	}
	s.finWanted = true
	s.writable.Broadcast()
	s.line()
	s.conn.unlockAndWrite()
	return nil
}

// Close implements net.Conn. What was written is still sent; what comes from then
// on is thrown away, and the other end told that nobody reads it.
func (s *Stream) Close() error {
	c := s.conn
	c.mu.Lock()
	if s.closed {
		c.mu.Unlock()
		return nil
	}
	s.closed, s.finWanted = true, true
	s.readBy.stop()
	s.writeBy.stop()
	s.dropIn()
	s.readable.Broadcast()
	s.writable.Broadcast()
	switch {
	case s.err != nil:
	case s.finSent && !s.finGot:
		s.end(Refusal{Code: Closed}, net.ErrClosed)
	default:
		s.line()
	}
	c.unlockAndWrite()
	return nil
}

// Reset ends the stream in both directions at once; what waits is thrown away. The
// other end is told the reason, of which 1 KiB is sent.
func (s *Stream) Reset(reason string) {
	s.conn.mu.Lock()
	s.end(Refusal{Code: Reset, Reason: reason}, &ResetError{Code: Reset, Reason: reason})
	s.conn.unlockAndWrite()
}

// LocalAddr implements net.Conn: it is the session's.
func (s *Stream) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr implements net.Conn: it is the session's.
func (s *Stream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Conn returns the session that the stream belongs to.
func (s *Stream) Conn() *Conn { return s.conn }
