package tunnel

import (
	"net"
	"sync"
	"time"
)

// deadline is a time after which one direction of a stream fails. It costs a timer
// only while it is set. Guarded by Conn.mu.
type deadline struct {
	timer  *time.Timer
	passed bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// set begins anew with t; zero is none. Who waits at cond is woken when it passes.
func (d *deadline) set(t time.Time, cond *sync.Cond) {
	d.stop()
	d.passed = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.passed = true
		cond.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		cond.L.Lock()
		defer cond.L.Unlock()
		if d.timer == timer {
			d.timer, d.passed = nil, true
			cond.Broadcast()
		}
	})
	d.timer = timer
}

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	return s.setDeadlines(t, &s.readBy, &s.writeBy)
}

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.setDeadlines(t, &s.readBy) }

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.setDeadlines(t, &s.writeBy) }

func (s *Stream) setDeadlines(t time.Time, which ...*deadline) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if s.err != nil {
		return s.err
	}
	for _, d := range which {
		cond := &s.readable
		if d == &s.writeBy {
			cond = &s.writable
		}
		d.set(t, cond)
	}
	return nil
}
