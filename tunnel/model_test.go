package tunnel

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// half is one direction of a stream, as it should be: so many bytes written, so
// many read, ended or not.
type half struct {
	sent, read int
	ended      bool // by CloseWrite or Close of who writes
	deaf       bool // who reads has closed
}

// modelled is a stream beside what it should be. Direction d is written by ends[d]
// and read by ends[1-d].
type modelled struct {
	ends [2]*Stream
	dirs [2]half
	dead bool
}

// at is byte i of a direction: no two directions and no two places nearby look alike.
func at(d, i int) byte { return byte(i*131 + i>>8*7 + d) }

// gone says whether neither end knows the stream any more.
func (m *modelled) gone() bool {
	return m.dead || m.dirs[0].deaf || m.dirs[1].deaf || m.dirs[0].ended && m.dirs[1].ended
}

func (m *modelled) write(t *rapid.T, d, n int) {
	h := &m.dirs[d]
	if n = min(n, leastFlow/8/2-(h.sent-h.read)); m.dead || h.ended || n <= 0 {
		return // might wait until half of the window was read that one of 8 has, or is known to fail
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = at(d, h.sent+i)
	}
	wrote, err := m.ends[d].Write(b)
	switch {
	case h.deaf && !errors.Is(err, io.ErrClosedPipe):
		t.Fatalf("writing to who has closed: %d, %v", wrote, err)
	case !h.deaf && (wrote != n || err != nil):
		t.Fatalf("wrote %d of %d: %v", wrote, n, err)
	case !h.deaf:
		h.sent += n
	}
}

func (m *modelled) readSome(t *rapid.T, d, n int) {
	h := &m.dirs[d]
	s := m.ends[1-d]
	switch left := h.sent - h.read; {
	case m.dead || h.deaf:
		if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Fatalf("reading what has ended suddenly: %v", err)
		}
	case left > 0:
		b := make([]byte, min(n, left))
		if _, err := io.ReadFull(s, b); err != nil {
			t.Fatalf("%d bytes wait: %v", left, err)
		}
		for i, c := range b {
			if c != at(d, h.read+i) {
				t.Fatalf("byte %d of %d is another", h.read+i, h.sent)
			}
		}
		h.read += len(b)
	case h.ended:
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
	}
}

func (m *modelled) closeEnd(d int) {
	m.ends[d].Close()
	if !m.dead {
		m.dirs[d].ended = true
		m.dirs[1-d].deaf = true
	}
}

// walk takes one random step with one stream.
func (m *modelled) walk(t *rapid.T) {
	d := rapid.IntRange(0, 1).Draw(t, "direction")
	size := rapid.OneOf(rapid.IntRange(1, 600), rapid.IntRange(4000, 5000), rapid.IntRange(1, 150<<10))
	switch rapid.SampledFrom([]string{"write", "write", "write", "read", "read", "read", "end", "close", "reset"}).Draw(t, "step") {
	case "write":
		m.write(t, d, size.Draw(t, "bytes"))
	case "read":
		m.readSome(t, d, size.Draw(t, "bytes"))
	case "end":
		m.ends[d].CloseWrite()
		m.dirs[d].ended = true
	case "close":
		if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
			m.closeEnd(d)
		}
	case "reset":
		if rapid.IntRange(0, 7).Draw(t, "really") == 0 && !m.gone() {
			m.ends[d].Reset("walked into")
			m.dead = true
		}
	}
}

// TestWalks takes two ends anywhere, and compares with a reference that has no
// frames, no windows and no order of its own. A bubble ends only when every
// goroutine of a session has.
func TestWalks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(t *testing.T) {
			defer func() { failed = recover() }() // rapid's, which is not to cross a bubble's border
			tour(t, rt)
		})
		if failed != nil {
			panic(failed)
		}
	})
}

func tour(t *testing.T, rt *rapid.T) {
	near, far := sockets(t, memory)
	datagrams, came := 0, 0
	a, z := join(t, near, far, Config{}, Config{Datagram: func([]byte) { came++ }})
	var streams []*modelled
	for range rapid.IntRange(1, 120).Draw(rt, "steps") {
		switch step := rapid.IntRange(0, 19).Draw(rt, "what"); {
		case len(streams) == 0 || step == 0 && len(streams) < 8:
			m := &modelled{}
			if rapid.Bool().Draw(rt, "from the client") {
				m.ends[0], m.ends[1] = open(t, a, z)
			} else {
				m.ends[0], m.ends[1] = open(t, z, a)
			}
			streams = append(streams, m)
		case step == 1:
			time.Sleep(time.Duration(rapid.IntRange(1, 30).Draw(rt, "seconds")) * time.Second)
		case step == 2:
			a.SendDatagram([]byte("datagram"))
			datagrams++
		default:
			streams[rapid.IntRange(0, len(streams)-1).Draw(rt, "stream")].walk(rt)
		}
		synctest.Wait()
		compare(rt, a, z, streams)
		if came != datagrams {
			rt.Fatalf("%d datagrams came of %d", came, datagrams)
		}
	}
	for _, m := range streams {
		m.closeEnd(0)
		m.closeEnd(1)
	}
	a.Close()
	z.Close()
	if held := a.budget.Held() + z.budget.Held() + a.budget.Promised() + z.budget.Promised(); held != 0 {
		rt.Fatalf("%d bytes are left", held)
	}
}

// compare looks at both ends, which are at rest.
func compare(t *rapid.T, a, z *Conn, streams []*modelled) {
	alive := 0
	for _, m := range streams {
		if !m.gone() {
			alive++
			m.account(t)
		}
	}
	for _, c := range []*Conn{a, z} {
		if s := c.Stats(); s.Streams != alive || s.Violations != 0 || s.Shed != 0 || c.Err() != nil {
			t.Fatalf("%d streams are alive, but %+v, %v", alive, s, c.Err())
		}
	}
}

// account compares what the ends of a stream that is alive know of its windows.
func (m *modelled) account(t *rapid.T) {
	for d, h := range m.dirs {
		from, to := m.ends[d], m.ends[1-d]
		from.conn.mu.Lock()
		credit := from.credit
		from.conn.mu.Unlock()
		to.conn.mu.Lock()
		granted, taken, window := to.granted, to.taken, to.usable()
		to.conn.mu.Unlock()
		if h.ended {
			continue
		}
		if taken != int64(h.read) || credit != granted-int64(h.sent) || granted-taken < window/2 {
			t.Fatalf("%d bytes were sent and %d read: %d are granted, %d taken, %d may be sent", h.sent, h.read, granted, taken, credit)
		}
	}
}
