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
	for _, tt := range []struct {
		name string
		do   func(w *wire)
		want []time.Duration
	}{
		{"nobody answers", func(w *wire) { w.sent([][]byte{asks(5)}, there) }, ms(200, 600, 1400)},
		{"it is answered", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			time.Sleep(300 * time.Millisecond)
			w.came(answers(5), there)
		}, ms(200)},
		{"another is answered", func(w *wire) {
			w.sent([][]byte{asks(5)}, there)
			w.came(answers(6), there)
		}, ms(200, 600, 1400)},
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
