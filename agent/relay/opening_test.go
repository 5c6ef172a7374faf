package relay

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestBeats: of two packets that ask for one session, sent at the same moment, both ends
// hear the same one.
func TestBeats(t *testing.T) {
	asks := func(ephemeral string) []byte {
		b := make([]byte, openingSize)
		b[0] = openingType
		copy(b[ephemeralFrom:], bytes.Repeat([]byte(ephemeral), ephemeralTo-ephemeralFrom))
		return b
	}
	ours := func(ephemeral string, at time.Duration) *opening {
		o := &opening{at: at}
		copy(o.packet[:], asks(ephemeral))
		return o
	}
	for _, tt := range []struct {
		name   string
		ours   *opening
		packet []byte
		now    time.Duration
		want   bool
	}{
		{"ours is smaller", ours("a", 0), asks("b"), 0, true},
		{"the peer's is smaller", ours("b", 0), asks("a"), 0, false},
		{"the same, as if it came back", ours("a", 0), asks("a"), 0, false},
		{"we did not ask", nil, asks("b"), 0, false},
		{"an answer", ours("a", 0), append([]byte{2}, make([]byte, 91)...), 0, false},
		{"data of that size", ours("a", 0), append([]byte{4}, asks("b")[1:]...), 0, false},
		{"an empty packet", ours("a", 0), nil, 0, false},
		{"nobody has answered for some time", ours("a", time.Minute), asks("b"), time.Minute + crossing - 1, true},
		{"nobody has answered for too long", ours("a", time.Minute), asks("b"), time.Minute + crossing, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.ours.beats(tt.packet, tt.now); got != tt.want {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestAskedWhen: what asks is sent again until something comes, and when.
func TestAskedWhen(t *testing.T) {
	ms := func(all ...int) (out []time.Duration) {
		for _, n := range all {
			out = append(out, time.Duration(n)*time.Millisecond)
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		o     *opening
		urged time.Duration // when the peer asks
		want  []time.Duration
	}{
		{"nobody answers", &opening{}, 0, ms(100, 300, 700, 1100, 1500, 1900, 2300, 2700, 3100, 3500, 3900, 4300, 4700)},
		{"the one before was in vain", &opening{late: true}, 0, ms(100, 300, 700, 1500, 3100)},
		{"the peer asks, and is not heard", &opening{}, 850 * time.Millisecond, ms(100, 300, 700, 850, 1250, 1650, 2050, 2450, 2850, 3250, 3650, 4050, 4450, 4850)},
		{"the peer asks a moment after it was asked", &opening{}, 750 * time.Millisecond, ms(100, 300, 700, 800, 1200, 1600, 2000, 2400, 2800, 3200, 3600, 4000, 4400, 4800)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []time.Duration
			for now := time.Duration(0); now < 10*time.Second; now += openingsEvery {
				if tt.urged > 0 && now == tt.urged {
					tt.o.urged.Store(true)
				}
				if due, _ := tt.o.due(now); due {
					got = append(got, now)
					tt.o.times, tt.o.last = tt.o.times+1, now
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("sent again at %v, want %v", got, tt.want)
			}
		})
	}
}

// TestManyDark: a thousand peers that do not answer are asked no more often than is
// written down, and looks end.
func TestManyDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Relay{born: time.Now(), ports: map[key]*port{}}
		asked := func() (n int) {
			for _, p := range r.ports {
				n += p.opening.Load().times
			}
			return n
		}
		for i := range 1000 {
			p := &port{r: r, key: key{fmt.Sprintf("n%d", i), 0}}
			p.opening.Store(&opening{})
			r.ports[p.key] = p
		}
		for was := 0; r.ask(); was = asked() {
			if n := asked() - was; n > openingsMost {
				t.Fatalf("%d sent in one look, of at most %d", n, openingsMost)
			}
			time.Sleep(openingsEvery)
		}
		if took := time.Since(r.born); took > openingLasts+openingsEvery {
			t.Errorf("it looks for %v", took)
		}
		if n := asked(); n < 5000 || n > 100*openingsMost {
			t.Errorf("%d sent to 1000 peers", n)
		}
	})
}

// TestDataIsNoAnswer: what the peer sends by a session of its own, which this end may
// have lost, does not end the asking for another.
func TestDataIsNoAnswer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"data", []byte{dataType, 0, 0, 0}, true},
		{"an answer", []byte{2, 0, 0, 0}, false},
		{"an empty packet", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := isData(tt.packet); got != tt.want {
				t.Errorf("%v", got)
			}
		})
	}
}
