package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// maxBacklog is how many bytes of targets wait to be accepted, at most.
const maxBacklog = 8 << 20

// opening is what only a stream has that waits for the other end's answer.
type opening struct {
	target   []byte
	deadline time.Time
	answered chan struct{}
}

// milliseconds returns what is left until the deadline; 0 is none.
func (o *opening) milliseconds() uint32 {
	if o.deadline.IsZero() {
		return 0
	}
	return uint32(min(max(time.Until(o.deadline).Milliseconds(), 1), maxWindow))
}

// Open opens a stream, and returns it when the other end has accepted it. A no is a
// *Refusal. When ctx ends first the other end is told. The deadline of ctx travels
// along.
func (c *Conn) Open(ctx context.Context, target []byte) (*Stream, error) {
	if len(target) > MaxTarget {
		return nil, fmt.Errorf("tunnel: a target has %d bytes, more than %d", len(target), MaxTarget)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o := &opening{target: append([]byte(nil), target...), answered: make(chan struct{})}
	o.deadline, _ = ctx.Deadline()
	c.mu.Lock()
	s, err := c.begin(o)
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.unlockAndWrite()
	select {
	case <-o.answered:
	case <-ctx.Done():
	}
	c.mu.Lock()
	if s.opening != nil {
		s.giveUp(ctx.Err())
		c.unlockAndWrite()
		return nil, ctx.Err()
	}
	defer c.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	return s, nil
}

// begin makes a stream of this end's; with mu held.
func (c *Conn) begin(o *opening) (*Stream, error) {
	switch {
	case c.err != nil:
		return nil, c.err
	case c.shut:
		return nil, &Refusal{Code: Draining, Reason: "the session is being drained"}
	case c.next > maxWindow-2:
		return nil, ErrSpent
	}
	s := c.newStream(c.next)
	s.opening = o
	c.next += 2
	c.stats.Opened++
	c.sched.mark(s, markOpen)
	return s, nil
}

// giveUp ends the wait for an answer; with mu held.
func (s *Stream) giveUp(why error) {
	unsent := s.marks&markOpen != 0
	code := Canceled
	if errors.Is(why, context.DeadlineExceeded) {
		code = TimedOut
	}
	s.end(Refusal{Code: code}, why)
	if unsent {
		s.marks = 0 // they never hear of it
	}
}

// takeAccept is the other end's yes; with mu held.
func (s *Stream) takeAccept(window int64) {
	if s.opening == nil || window > maxWindow {
		s.violate("accepted twice")
		return
	}
	s.credit = window
	s.answered()
}

// takeRefuse is its no; with mu held.
func (s *Stream) takeRefuse(why Refusal) {
	if s.opening == nil {
		s.violate("refused when it was open")
		return
	}
	s.abort(&why)
	s.conn.detach(s)
}

func (s *Stream) answered() {
	if s.opening != nil {
		close(s.opening.answered)
		s.opening = nil
	}
}

// away notes that the other end takes no more streams; with mu held.
func (c *Conn) away() {
	if !c.shut {
		c.shut = true
		close(c.drained)
	}
}

// takeOpen is the other end's wish for a stream; with mu held.
func (c *Conn) takeOpen(id uint32, b []byte) error {
	if c.ours(id) || id <= c.theirs {
		return fmt.Errorf("tunnel: the other end opened stream %d after %d", id, c.theirs)
	}
	c.theirs = id
	window, target := binary.BigEndian.Uint32(b[4:]), b[openFixed:]
	no := refusal{id: id, code: Overloaded}
	switch {
	case window > maxWindow:
		no.code, no.reason = Violation, "the window is larger than 2^31-1"
	case c.drains:
		no.code, no.reason = Draining, "this end takes no more streams"
	case c.incoming >= c.config.MaxStreams:
		no.reason = fmt.Sprintf("this session has %d streams open", c.incoming)
	case c.accepts.size+len(target) > maxBacklog || len(c.accepts.list) >= c.config.MaxStreams:
		no.reason = "too many streams wait to be looked at"
	default:
		s := c.newStream(id)
		s.credit = int64(window)
		r := &Request{stream: s, target: append([]byte(nil), target...)}
		if ms := binary.BigEndian.Uint32(b); ms != 0 {
			r.deadline = time.Now().Add(time.Duration(ms) * time.Millisecond)
		}
		s.request = r
		c.accepts.push(r)
		return nil
	}
	c.stats.Refused++
	if len(c.sched.refusals) >= maxRefusals {
		return errors.New("tunnel: the other end opens streams and does not read the answers")
	}
	c.sched.refusals = append(c.sched.refusals, no)
	return nil
}
