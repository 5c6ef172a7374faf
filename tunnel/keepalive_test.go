package tunnel

import (
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// silenced is a connection that at some moment takes nothing any more and gives
// nothing, as one whose other end was frozen or whose way was cut.
type silenced struct {
	net.Conn
	once sync.Once
	cut  chan struct{}
	gone chan struct{}
}

func (s *silenced) Write(p []byte) (int, error) {
	select {
	case <-s.cut:
		return len(p), nil // as into a socket's buffer
	default:
		return s.Conn.Write(p)
	}
}

func (s *silenced) Close() error {
	s.once.Do(func() { close(s.gone) })
	return s.Conn.Close()
}

// TestSilence: whichever end falls silent, both notice in time, and nothing is left.
func TestSilence(t *testing.T) {
	for _, both := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := sockets(t, memory)
			cut := make(chan struct{})
			if far = (&silenced{Conn: far, cut: cut, gone: make(chan struct{})}); both {
				near = &silenced{Conn: near, cut: cut, gone: make(chan struct{})}
			}
			a, z := join(t, near, far, Config{}, Config{})
			s, _ := open(t, a, z)
			time.Sleep(time.Hour) // with pings alone
			if a.Err() != nil || z.Err() != nil {
				t.Fatalf("an idle session ended: %v, %v", a.Err(), z.Err())
			}
			began := time.Now()
			close(cut)
			<-a.Done()
			took := time.Since(began)
			<-z.Done()
			noticed := errors.Is(a.Err(), ErrDead) || both && errors.Is(z.Err(), ErrDead) // at the same instant
			if !noticed || took > 10*time.Second {
				t.Errorf("after %v: %v", took, a.Err())
			}
			if _, err := s.Read(make([]byte, 1)); err != a.Err() {
				t.Errorf("the stream says %v", err)
			}
			if a.Stats().Streams+z.Stats().Streams != 0 {
				t.Error("streams are left")
			}
		})
	}
}

// TestStuckWrites: a socket that takes nothing ends the session, also while the
// other end is heard.
func TestStuckWrites(t *testing.T) {
	near, far := sockets(t, plain)
	config := Config{DeadAfter: 300 * time.Millisecond, PingEvery: 100 * time.Millisecond}
	up := upgrade(t, far, config)
	a, _, err := Dial(t.Context(), near, "ws://weft/", nil, config)
	if err != nil {
		t.Fatal(err)
	}
	z := <-up
	s, _ := open(t, a, z)
	z.mu.Lock() // z reads no more, as if its process were stopped
	began := time.Now()
	for err = nil; err == nil; {
		_, err = s.Write(make([]byte, 64<<10))
	}
	<-a.Done()
	if !errors.Is(a.Err(), ErrDead) {
		t.Errorf("after %v: %v", time.Since(began), a.Err())
	}
	z.mu.Unlock()
	<-z.Done()
}

func TestRTT(t *testing.T) {
	p := pinger{}
	for _, step := range []struct{ took, want time.Duration }{
		{40, 40}, {80, 45}, {45, 45}, {20, 20}, {100, 30},
	} {
		b := p.ping(time.Second)
		p.pong(b[:], time.Second+step.took)
		if p.rtt != step.want {
			t.Errorf("after %d: %d, not %d", step.took, p.rtt, step.want)
		}
		p.pong(b[:], time.Second+1) // again
		p.ping(2 * time.Second)
		p.pong(b[:], 2*time.Second+1) // of a ping that was given up
		if p.rtt != step.want {
			t.Error("an answer counted twice")
		}
	}
}

// Who was asleep himself asks before he calls the other end dead.
func TestWhoSleptAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := sockets(t, memory)
		a, _ := join(t, near, far, Config{}, Config{})
		time.Sleep(time.Minute)
		a.mu.Lock()
		a.pings.beaten -= time.Minute / 2 // as if the last beat were so long ago
		a.heard.Add(-int64(time.Minute / 2))
		a.mu.Unlock()
		a.beat()
		synctest.Wait()
		if err := a.Err(); err != nil {
			t.Error(err)
		}
	})
}
