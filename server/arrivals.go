package server

import (
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds on connections that have not shown who they are.
const (
	turnsMax = 128         // that are worked on at one time
	turnHeld = time.Second // after which one that does not get on makes room; it goes on beside
	waitMax  = 8192        // that wait and were not looked at yet: a file each, and no more
)

// arrivals are connections that nothing was computed for yet. When thousands come
// at once, few are worked on at a time: all of them together would all be late, and
// what was computed for a client that has given up is lost. The newest goes first,
// for it will wait the longest; one that has hung up meanwhile costs nothing. Who
// gave up comes back, and is the newest then.
type arrivals struct {
	work func(net.Conn, *turn) // in a goroutine of its own
	gone func(net.Conn) bool   // it has hung up
	most int                   // turns

	mu      sync.Mutex
	taken   int
	waiting []net.Conn // in the order of their coming
	closed  bool

	inFlight sync.WaitGroup
}

func newArrivals(work func(net.Conn, *turn)) *arrivals {
	return &arrivals{work: work, gone: hungUp, most: turnsMax}
}

// come takes a connection. If too many wait, the oldest is let go.
func (a *arrivals) come(conn net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		_ = conn.Close()
		return
	}
	a.waiting = append(a.waiting, conn)
	a.next()
	if len(a.waiting) > waitMax {
		_ = a.waiting[0].Close()
		a.waiting[0] = nil
		a.waiting = a.waiting[1:]
	}
}

// next begins work on the newest, while there are turns. a.mu is held.
func (a *arrivals) next() {
	for a.taken < a.most && len(a.waiting) > 0 {
		newest := len(a.waiting) - 1
		conn := a.waiting[newest]
		a.waiting[newest] = nil
		a.waiting = a.waiting[:newest]
		if a.gone(conn) {
			_ = conn.Close()
			continue
		}
		a.taken++
		t := &turn{arrivals: a}
		t.late = time.AfterFunc(turnHeld, t.end)
		a.inFlight.Go(func() { a.work(conn, t) })
	}
}

// close lets go of all that wait, and of who comes later, and waits for the work.
func (a *arrivals) close() {
	a.mu.Lock()
	a.closed = true
	for _, c := range a.waiting {
		_ = c.Close()
	}
	a.waiting = nil
	a.mu.Unlock()
	a.inFlight.Wait()
}

// turn is the right to be worked on.
type turn struct {
	arrivals *arrivals
	late     *time.Timer
	ended    bool // arrivals.mu
}

// end gives the turn back, once.
func (t *turn) end() {
	a := t.arrivals
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	t.late.Stop()
	a.taken--
	a.next()
}

// hungUp tells whether the other end has closed a connection. What cannot be asked
// has not.
func hungUp(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	hung := false
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		hung = err == nil && info.State != unix.BPF_TCP_ESTABLISHED
	})
	return hung
}
