package tunnel

import (
	"context"
	"errors"
	"time"
)

// Request is the other end's wish for a stream. Accept or Refuse answers it.
type Request struct {
	stream   *Stream
	target   []byte
	deadline time.Time
	ctx      context.Context
	cancel   context.CancelFunc
}

// errAnswered is a second answer.
var errAnswered = errors.New("tunnel: the request was answered before")

// Target returns the bytes that the opener gave.
func (r *Request) Target() []byte { return r.target }

// Deadline returns when the opener gives up, on this machine's clock; zero: never.
func (r *Request) Deadline() time.Time { return r.deadline }

// Context ends when the opener has given up or its deadline has passed, when the
// request was answered, and when the session ends.
func (r *Request) Context() context.Context {
	c := r.stream.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithCancel(context.Background())
		if !r.deadline.IsZero() {
			r.ctx, r.cancel = context.WithDeadline(context.Background(), r.deadline)
		}
		if r.stream.request != r {
			r.cancel()
		}
	}
	return r.ctx
}

// Accept says yes, and returns the stream.
func (r *Request) Accept() (*Stream, error) {
	s, c := r.stream, r.stream.conn
	c.mu.Lock()
	if err := r.settle(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	s.tuned = c.clock()
	c.stats.Accepted++
	c.sched.mark(s, markAccept)
	c.unlockAndWrite()
	return s, nil
}

// Refuse says no. Of the reason, 1 KiB is sent.
func (r *Request) Refuse(code Code, reason string) error {
	s, c := r.stream, r.stream.conn
	c.mu.Lock()
	if err := r.settle(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.stats.Refused++
	s.reply = &Refusal{Code: code, Reason: reason}
	s.abort(s.reply)
	c.detach(s)
	c.sched.mark(s, markRefuse)
	c.unlockAndWrite()
	return nil
}

// settle marks the request as answered; with mu held.
func (r *Request) settle() error {
	if r.stream.request != r {
		if r.stream.err != nil {
			return r.stream.err
		}
		return errAnswered
	}
	r.stream.settled()
	return nil
}

// settled ends the time in which a stream that the other end wants has no answer;
// with mu held.
func (s *Stream) settled() {
	if s.request != nil {
		if s.request.cancel != nil {
			s.request.cancel()
		}
		s.request = nil
	}
}

// backlog is what waits to be accepted.
type backlog struct {
	list   []*Request
	size   int           // bytes of targets
	wake   chan struct{} // has room for one
	closed bool
}

func (b *backlog) push(r *Request) {
	b.list = append(b.list, r)
	b.size += len(r.target)
	b.kick()
}

func (b *backlog) kick() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// pop takes out the first that its opener still waits for.
func (b *backlog) pop() *Request {
	for len(b.list) > 0 {
		r := b.list[0]
		b.list[0] = nil
		b.list = b.list[1:]
		b.size -= len(r.target)
		if len(b.list) == 0 {
			b.list = nil
		} else {
			b.kick()
		}
		if r.stream.request == r {
			return r
		}
	}
	return nil
}

func (b *backlog) close() {
	b.list, b.size, b.closed = nil, 0, true
	close(b.wake)
}

// Accept returns the next stream that the other end wants.
func (c *Conn) Accept(ctx context.Context) (*Request, error) {
	for {
		c.mu.Lock()
		r, err := c.accepts.pop(), c.err
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if r != nil {
			return r, nil
		}
		select {
		case <-c.accepts.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
