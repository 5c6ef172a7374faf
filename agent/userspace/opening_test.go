package userspace

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// wire is what openings send, and when.
type wire struct {
	*openings
	began time.Time
	kinds []byte
	times []time.Duration
}

func newWire(t *testing.T) *wire {
	w := &wire{began: time.Now()}
	w.openings = newOpenings(func(b []byte, _ netip.AddrPort) {
		w.kinds, w.times = append(w.kinds, b[0]), append(w.times, time.Since(w.began))
	})
	t.Cleanup(w.close)
	return w
}

var there = &conn.StdNetEndpoint{AddrPort: netip.MustParseAddrPort("192.0.2.1:51820")}

// asks is a packet that asks for a session, by its index, which is in the key as well.
func asks(index uint32) []byte {
	b := make([]byte, openingSize)
	b[0] = openingType
	binary.LittleEndian.PutUint32(b[4:], index)
	binary.BigEndian.PutUint32(b[8:], index) // the ephemeral key
	return b
}

// answers is one that answers it.
func answers(index uint32) []byte {
	b := make([]byte, answerSize)
	b[0] = answerType
	binary.LittleEndian.PutUint32(b[8:], index)
	return b
}

// TestOpenings: what asks is sent again until it is answered.
func TestOpenings(t *testing.T) {
	ms := func(all ...int) (out []time.Duration) {
		for _, n := range all {
			out = append(out, time.Duration(n)*time.Millisecond)
		}
		return out
	}
	often := ms(200, 600, 1000, 1400, 1800, 2200, 2600, 3000, 3400, 3800, 4200, 4600)
	for _, tt := range []struct {
		name string
		do   func(w *wire)
		want []time.Duration
	}{
		{"nobody answers", func(w *wire) { w.sent([][]byte{asks(5)}, there) }, often},
		{"nobody answers, not even the next one", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			time.Sleep(5300 * time.Millisecond)
			w.sent([][]byte{asks(6)}, there)
		}, append(slices.Clone(often), ms(5500, 5900, 6700)...)},
		{"nobody answers, and the next one is asked much later", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			time.Sleep(15 * time.Second)
			w.sent([][]byte{asks(6)}, there)
			time.Sleep(300 * time.Millisecond)
			w.came(answers(6), there)
		}, append(slices.Clone(often), ms(15200)...)},
		{"the other end asks meanwhile, and does not count", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			time.Sleep(350 * time.Millisecond)
			w.came(asks(7), there) // it knows us since then
			w.came(asks(7), there)
			w.came(answers(5), there)
		}, ms(200, 350)},
		{"the other end asks meanwhile, and counts", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			time.Sleep(350 * time.Millisecond)
			w.came(asks(3), there)
		}, ms(200)},
		{"it is answered", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			time.Sleep(300 * time.Millisecond)
			w.came(answers(5), there)
		}, ms(200)},
		{"another is answered", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			w.came(answers(6), there)
		}, often},
		{"the sockets are closed", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			w.close()
			w.sent([][]byte{asks(6)}, there)
		}, nil},
		{"data asks nothing", func(w *wire) { w.sent([][]byte{{4, 0, 0, 0}, make([]byte, openingSize), nil}, there) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t)
				tt.do(w)
				time.Sleep(time.Minute)
				synctest.Wait()
				if !slices.Equal(w.times, tt.want) {
					t.Errorf("sent again at %v, want %v", w.times, tt.want)
				}
				if w.timer != nil || len(w.asked)+len(w.given) > 0 {
					t.Error("something is remembered for ever")
				}
			})
		})
	}
}

// TestCrossing: of two that ask each other at once, one is heard.
func TestCrossing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newWire(t), newWire(t)
		a.sent([][]byte{asks(5)}, there)
		b.sent([][]byte{asks(7)}, there)
		if a.came(asks(7), there) {
			t.Error("the lower one heard the other, and takes no answer now")
		}
		if !b.came(asks(5), there) {
			t.Error("the higher one did not hear the other")
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if len(b.kinds) > 0 {
			t.Error("the higher one asked again")
		}
		if !a.came(asks(7), there) {
			t.Error("the lower one never hears the other, though nobody answers itself")
		}
	})
}

// TestAnswersAgain: an answer that was lost is sent again to who asks again.
func TestAnswersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		if !w.came(asks(5), there) {
			t.Fatal("who asks was not heard")
		}
		w.sent([][]byte{answers(5)}, there)
		if !w.came(asks(5), there) || !slices.Equal(w.kinds, []byte{answerType}) {
			t.Errorf("sent %v, want the answer", w.kinds)
		}
		if !w.came(asks(6), there) || len(w.kinds) > 1 {
			t.Errorf("another question was answered with the old answer")
		}
	})
}

// never is of an end that asks nothing.
const never = -time.Second

// TestFirstSession: of the packets of two devices, so many are lost. The pair has a
// session soon after one of them gets through, whoever asked.
func TestFirstSession(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lost   [2]int           // that begin a session or answer one, from a and from b
		begins [2]time.Duration // when a and b know each other, and ask; never: it knows, and asks nothing
		most   time.Duration    // until both have had what they need
	}{
		{"nothing is lost", [2]int{0, 0}, [2]time.Duration{0, 0}, 0},
		{"the first four from a", [2]int{4, 0}, [2]time.Duration{0, never}, 1400 * time.Millisecond},
		{"ten from a", [2]int{10, 0}, [2]time.Duration{0, never}, 3800 * time.Millisecond},
		{"five from both, which ask at once", [2]int{5, 5}, [2]time.Duration{0, 0}, 2200 * time.Millisecond},
		{"b knows a later", [2]int{0, 0}, [2]time.Duration{0, 1500 * time.Millisecond}, 1500 * time.Millisecond},
		{"b knows a later, and counts", [2]int{0, 0}, [2]time.Duration{2500 * time.Millisecond, 0}, 2500 * time.Millisecond},
		{"b knows a much later", [2]int{0, 0}, [2]time.Duration{0, 4500 * time.Millisecond}, 4500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := met(t, tt.lost, tt.begins); got > tt.most+againEvery {
					t.Errorf("a session after %v, want it after %v", got, tt.most)
				}
			})
		})
	}
}

// end is a device as far as sessions go. It answers who asks, once and once it knows it,
// and takes an answer to what it asked last, if it has not heard the other since.
type end struct {
	*openings
	index uint32
	knows time.Time
	lose  int
	peer  *end
	has   func()

	open  bool // it has asked, and waits
	heard bool // it has answered
}

// met runs two ends, and tells after what time they have a session.
func met(t *testing.T, lost [2]int, begins [2]time.Duration) (after time.Duration) {
	began := time.Now()
	steps, done := make(chan func(), 64), false
	var ends [2]*end
	for i := range ends {
		e := &end{index: uint32(i + 5), knows: began.Add(begins[i]), lose: lost[i], has: func() { done = true }}
		e.openings = newOpenings(func(b []byte, _ netip.AddrPort) { steps <- func() { e.carry(b) } })
		t.Cleanup(e.close)
		ends[i] = e
	}
	ends[0].peer, ends[1].peer = ends[1], ends[0]
	for _, e := range ends {
		if !e.knows.Before(began) {
			time.AfterFunc(time.Until(e.knows), func() { steps <- e.ask })
		}
	}
	for !done {
		(<-steps)()
	}
	return time.Since(began)
}

func (e *end) ask() {
	if !e.heard {
		e.open = true
		e.say(asks(e.index))
	}
}

func (e *end) say(b []byte) {
	e.sent([][]byte{b}, there)
	e.carry(b)
}

// carry has a packet come to the other end, if it is not lost.
func (e *end) carry(b []byte) {
	e.lose--
	p := e.peer
	switch {
	case e.lose >= 0 || !p.came(b, there) || time.Now().Before(p.knows):
	case b[0] == answerType && p.open:
		p.has()
	case b[0] == openingType && !p.heard:
		p.open, p.heard = false, true
		p.say(answers(binary.LittleEndian.Uint32(b[4:])))
	}
}

// TestManyDark: a thousand peers that do not answer are asked no more often than is
// written down, altogether and each.
func TestManyDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		for i := range 1000 {
			w.sent([][]byte{asks(uint32(i))}, &conn.StdNetEndpoint{AddrPort: netip.AddrPortFrom(there.Addr(), uint16(1000+i))})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(w.times); n < 5000 || n > 12_000 {
			t.Errorf("%d packets were sent again to 1000 peers", n)
		}
		for from := range w.times {
			n := 0
			for n < len(w.times)-from && w.times[from+n] < w.times[from]+time.Second {
				n++
			}
			if most := int(time.Second/againEvery) * mostAgain; n > most {
				t.Fatalf("%d packets within a second from %v, of at most %d", n, w.times[from], most)
			}
		}
	})
}
