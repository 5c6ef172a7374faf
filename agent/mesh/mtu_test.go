package mesh

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"pgregory.net/rapid"
)

// A path that silently loses what is larger than some size is settled within 10 s, at
// both ends, and given back when it heals.
func TestBlackHole(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds [2]string
		hole  int // bytes on the wire
		whole int // of the path before
		want  int // at least, with no more than 8 bytes less than possible
	}{
		{"WireGuard above 1300", [2]string{"public", "public"}, 1300, 1440, 1232},
		{"punched above 1400", [2]string{"easy", "easy"}, 1400, 1440, 1332},
		{"above 700", [2]string{"public", "easy"}, 700, 1440, 632},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := two(t, c.kinds[0], c.kinds[1], "s1")
			w.run(20 * time.Second)
			if got := a.m.Choices()["b"].MTU; got != c.whole {
				t.Fatalf("mtu %d before, not %d", got, c.whole)
			}
			w.hole[[2]string{"a", "b"}] = c.hole
			within := func(n *simNode, peer string) bool {
				m := n.m.Choices()[peer].MTU
				return m >= c.want && m <= c.hole-60
			}
			took := w.until(10*time.Second, func() bool { return within(a, "b") && within(b, "a") })
			t.Logf("settled after %v at %d and %d", took, a.m.Choices()["b"].MTU, b.m.Choices()["a"].MTU)
			if e, _ := a.m.Explain("b", w.now); e.Narrow {
				t.Error("IPv6 is refused, and there is none")
			}
			six := netip.MustParsePrefix("fd42:42::/64")
			a.m.me.Lease, a.m.pairs["b"].peer.Lease = append(a.m.me.Lease, six), append(a.m.pairs["b"].peer.Lease, six)
			if e, _ := a.m.Explain("b", w.now); e.Narrow != (e.MTU < intent.MinMTU6) {
				t.Errorf("at %d bytes: IPv6 refused %v", e.MTU, e.Narrow)
			}
			if x, y := w.rung("a", "b"), w.rung("b", "a"); x >= ByNode || y >= ByNode {
				t.Errorf("large packets that are lost took the pair to %v and %v", x, y)
			}
			clear(w.hole)
			w.until(mtuRaise+time.Minute, func() bool { return a.m.Choices()["b"].MTU == c.whole && b.m.Choices()["a"].MTU == c.whole })
		})
	}
}

// Whatever a path carries, the search ends at it, within its grain, and never above.
func TestSearchFindsAnyLimit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ceiling := rapid.IntRange(600, 9000).Draw(rt, "ceiling")
		limit := rapid.IntRange(mtuFloor, 9000).Draw(rt, "limit")
		drop := rapid.IntRange(0, 20).Draw(rt, "drop") // of a hundred, of those that fit
		now := epoch
		h := health{up: true, rtt: 20 * time.Millisecond}
		s := search{}
		s.limit(ceiling, now)
		id := uint64(0)
		probes := 0
		for end := now.Add(5 * time.Minute); now.Before(end); now = now.Add(10 * time.Millisecond) {
			s.expire(&h, now)
			size, most := s.pick(now)
			if s.id != 0 || s.verified(size) && now.Before(s.sent.Add(mtuUsed)) {
				continue
			}
			id++
			probes++
			s.begin(id, size, most, now)
			if size <= limit && rapid.IntRange(0, 99).Draw(rt, "luck") >= drop {
				s.got(id, size, now)
			}
		}
		if got, best := s.mtu(), min(ceiling, limit); got > best || drop == 0 && got < best-mtuGrain {
			rt.Fatalf("settled at %d of %d: %+v", got, best, s)
		}
		if drop == 0 && probes > 300 {
			rt.Fatalf("%d probes in five minutes", probes)
		}
	})
}

// A path that is slow, or a machine that is, loses nothing: however long answers take
// that small probes are still waited for, the size stays, and what was taken for lost
// and comes late gives it back.
func TestSlowIsNotNarrow(t *testing.T) {
	for _, took := range []time.Duration{10 * time.Millisecond, 900 * time.Millisecond, 1900 * time.Millisecond} {
		now := epoch
		h := health{up: true, rtt: took}
		s := search{}
		s.limit(1440, now)
		for id := range uint64(10) {
			size, most := s.pick(now)
			s.begin(id+1, size, most, now)
			now = now.Add(took)
			s.expire(&h, now.Add(-time.Millisecond))
			s.got(id+1, size, now)
		}
		if s.mtu() != 1440 || !s.settled() {
			t.Errorf("answers after %v: %+v", took, s)
		}
	}
}

func TestLateAnswer(t *testing.T) {
	h := health{up: true}
	s := search{}
	s.limit(1440, epoch)
	now := epoch
	for id := range uint64(mtuTries) {
		s.begin(id+10, 1440, mtuTries, now)
		now = now.Add(time.Minute)
		s.expire(&h, now)
	}
	if s.mtu() != mtuSafe {
		t.Fatalf("all lost: %+v", s)
	}
	s.got(9, 1440, now) // of the trail before
	s.got(20, 84, now)  // a small probe
	if s.mtu() != mtuSafe {
		t.Errorf("after answers that say nothing: %+v", s)
	}
	s.got(11, 1440, now)
	if s.mtu() != 1440 {
		t.Errorf("after a late answer: %+v", s)
	}
}
