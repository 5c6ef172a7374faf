package tunnel

import (
	"fmt"
	"time"
)

// What may wait to be sent, in bytes: little of one stream, less of each the more
// waits of all.
const (
	fewQueued  = 1 << 20
	muchQueued = 8 << 20
	mostOut    = 256 << 10
	someOut    = 64 << 10
	leastOut   = 4 << 10
)

// unknownRTT stands for a round trip that was not measured yet.
const unknownRTT = 50 * time.Millisecond

// leastRTT keeps windows from being so small that who has just been woken finds
// nothing to do: processes take turns in about such a time.
const leastRTT = time.Millisecond

// expect says whether n bytes that are about to come are to be kept, and accounts
// for them; with mu held.
func (s *Stream) expect(n int) bool {
	switch {
	case s.opening != nil || s.request != nil:
		s.violate("data before the stream was open")
		return false
	case s.finGot:
		s.violate("data after the end")
		return false
	case s.got+int64(n) > s.granted:
		s.violate(fmt.Sprintf("%d bytes more than the window", s.got+int64(n)-s.granted))
		return false
	}
	s.got += int64(n)
	s.conn.stats.BytesIn += uint64(n)
	if s.closed {
		return false
	}
	return s.conn.hold(s, n)
}

// deliver hands over a chunk that was read.
func (s *Stream) deliver(piece *chunk) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.err != nil || s.closed:
		c.budget.drop(int64(piece.len()))
		piece.free()
		return
	case piece.len() <= 4<<10 && s.in.size > 0:
		s.in.append(piece.bytes())
		piece.free()
	default:
		s.in.push(piece)
	}
	s.readable.Signal()
}

// consumed accounts for n bytes that were read, and lets the other end send as
// many more once half of the window was used; with mu held.
func (s *Stream) consumed(n int) {
	s.taken += int64(n)
	s.conn.budget.drop(int64(n))
	s.conn.flow.note(s, n, s.conn.clock(), s.conn.pings.least())
	if s.finGot || s.closed || s.err != nil || s.granted-s.taken > s.usable()/2 || s.marks&markWindow != 0 {
		return
	}
	s.tune()
	s.conn.sched.mark(s, markWindow)
}

// usable is how much of its window a stream is let use: its share of what the path
// can use. With mu held.
func (s *Stream) usable() int64 {
	if s.conn.budget.tight() {
		return min(s.window, leastShare)
	}
	return min(s.window, s.conn.flow.share(s.conn.pings.least()))
}

// tune doubles the window if half of it was used up in less than two round trips:
// then it was, or will soon be, what holds the other end back.
func (s *Stream) tune() {
	now, rtt := s.conn.clock(), s.conn.pings.rtt
	if rtt == 0 {
		rtt = unknownRTT
	}
	fast := now-s.tuned < 2*max(rtt, leastRTT) && s.usable() == s.window
	s.tuned = now
	if more := min(s.window, mostWindow-s.window); fast && more > 0 && s.conn.budget.promise(more) {
		s.window += more
	}
}

// grant returns how much more the other end may send, and counts it as granted;
// with mu held.
func (s *Stream) grant() int64 {
	if s.finGot || s.err != nil {
		return 0
	}
	more := max(s.taken+s.usable()-s.granted, 0)
	s.granted += more
	return more
}

// forget gives up what was promised; with mu held.
func (s *Stream) forget() {
	s.conn.budget.forget(s.window)
	s.window = 0
}

// takeWindow lets us send more; with mu held.
func (s *Stream) takeWindow(more int64) {
	if s.opening != nil || s.request != nil || s.credit+more > maxWindow {
		s.violate("a window that cannot be")
		return
	}
	s.credit += more
	s.wakeWriters()
}

// room returns how many bytes may be queued now; with mu held.
func (s *Stream) room() int {
	d, most := &s.conn.sched, mostOut
	switch {
	case d.queued >= muchQueued || s.conn.budget.tight():
		most = leastOut
	case d.queued >= fewQueued:
		most = someOut
	}
	return min(int(s.credit), most-s.out.size, maxData)
}

// awaitRoom waits until something may be queued and returns how much; with mu held.
func (s *Stream) awaitRoom() (int, error) {
	for stalled := false; ; {
		if err := s.writeEnd(); err != nil {
			return 0, err
		}
		if room := s.room(); room > 0 {
			return room, nil
		}
		if s.credit == 0 && !stalled {
			stalled = true
			s.conn.stats.WindowStalls++
		}
		s.writers++
		s.writable.Wait()
		s.writers--
	}
}

// wakeWriters wakes who waits for room once it is worth it; with mu held.
func (s *Stream) wakeWriters() {
	if s.writers > 0 && s.credit > 0 && (s.out.size == 0 || s.room() >= someOut/2) {
		s.writable.Broadcast()
	}
}
