package push

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// on is a hello of the same node from some machine.
func (p *speaks) on(machine, boot string, questions uint32) *weftv1.Hello {
	h := p.hello()
	h.Machine, h.Boot, h.Questions = machine, boot, questions
	return h
}

func (p *speaks) from(f *fabric, h *weftv1.Hello) *agent {
	return f.joinFrom(fmt.Sprintf("%s:%d", p.addr, 4000+p.streams), h)
}

// TestWhoComesAsANodeThatSpeaks: who is let in while another stream of its node is
// there, after how long, and what is known of the newcomer before that.
func TestWhoComesAsANodeThatSpeaks(t *testing.T) {
	type who struct{ instance, machine, boot, addr string }
	node := who{"i1", "m1", "b1", "192.0.2.1"}
	const at = time.Millisecond
	for _, c := range []struct {
		what      string
		by        who
		alive     bool // the holder
		questions uint32
		elsewhere bool
		after     time.Duration // let in; 0: sent away
	}{
		{"a copy on another machine", who{"i2", "m2", "b2", "192.0.2.66"}, true, 1, false, 0},
		{"a copy on another machine, at another server", who{"i2", "m2", "b2", "192.0.2.66"}, true, 1, true, 0},
		{"a copy of the whole image", who{"i2", "m1", "b2", "192.0.2.66"}, true, 1, false, 0},
		{"a copy of the whole image, at another server", who{"i2", "m1", "b2", "192.0.2.66"}, true, 1, true, 0},
		{"a copy that looks the same, but for its address", who{"i2", "m1", "b1", "192.0.2.66"}, true, 1, false, 0},
		{"a copy, of a holder that answers no questions", who{"i2", "m2", "b2", "192.0.2.66"}, true, 0, false, 0},
		{"a copy, of one at another server", who{"i2", "m2", "b2", "192.0.2.66"}, true, 0, true, 0},
		{"the same process", node, true, 1, false, at},
		{"the same process, at another server", node, true, 1, true, at},
		{"the same process, by another address", who{"i1", "m1", "b1", "192.0.2.9"}, true, 1, false, at},
		{"the same process, by another address, at another server", who{"i1", "m1", "b1", "192.0.2.9"}, true, 1, true, at},
		{"the agent was started again", who{"i2", "m1", "b1", "192.0.2.1"}, false, 1, false, at},
		{"the agent was started again, at another server", who{"i2", "m1", "b1", "192.0.2.1"}, false, 1, true, at},
		{"the machine was started again", who{"i2", "m1", "b2", "192.0.2.1"}, false, 1, false, pulseWait + at},
		{"the machine was started again, at another server", who{"i2", "m1", "b2", "192.0.2.1"}, false, 1, true, pulseWait + at},
		{"it was replaced by another machine", who{"i2", "m2", "b2", "192.0.2.2"}, false, 1, false, pulseWait + at},
		{"an agent of an earlier release was started again", who{"i2", "m1", "b2", "192.0.2.1"}, false, 0, false, 4*time.Second + at},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s1 := newFabric(t, nil)
				s2 := s1.second()
				there := s1
				if c.elsewhere {
					there = s2
				}
				first := &speaks{name: node.instance, addr: node.addr}
				a := first.from(s1, first.on(node.machine, node.boot, c.questions))
				if c.alive {
					a.live()
				} else {
					a.hear()
				}
				time.Sleep(3100 * time.Millisecond) // its word is around
				b := &speaks{name: c.by.instance, addr: c.by.addr, streams: 1}
				second := b.from(there, b.on(c.by.machine, c.by.boot, 1))
				time.Sleep(max(c.after, 5*at))
				if c.after > 0 {
					if got := second.hear(); !strings.Contains(got, "complete") {
						t.Errorf("it heard %q", got)
					}
					if c.by.instance != node.instance && c.after > at && s1.reported("n1").String() != c.by.addr {
						t.Errorf("its report is %v", s1.reported("n1"))
					}
					return
				}
				if c.questions == 0 {
					time.Sleep(3 * time.Second) // the holder's next heartbeat
				}
				if got := second.hear(); !strings.HasPrefix(got, "backoff 5 s: node n1 speaks from machine m1 at 192.0.2.1 since ") {
					t.Errorf("it heard %q", got)
				}
				expect(t, "the holder", a.ended(), "")
				expect(t, "the report", s2.reported("n1").String(), node.addr)
				time.Sleep(2 * time.Second)
				o := s2.seen("n1")
				expect(t, "seen", o.Instance+" at "+o.Address, node.instance+" at "+node.addr)
				if len(o.Problems) != 1 || !strings.Contains(o.Problems[0].Cause, "at 192.0.2.1 ") || !strings.Contains(o.Problems[0].Cause, "at 192.0.2.66") ||
					!strings.Contains(o.Problems[0].Cause, "both speak as node n1; the one that comes while the other is there is sent away") {
					t.Errorf("problems: %+v", o.Problems)
				}
			})
		})
	}
}

// TestACopyThatStays: whichever server it tries, it comes ever more seldom, and the
// node stays where it is; once it is stopped the problem goes.
func TestACopyThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s1 := newFabric(t, nil)
		s2 := s1.second()
		node, copied := &speaks{name: "i1", addr: "192.0.2.1"}, &speaks{name: "i2", addr: "192.0.2.66"}
		a := node.from(s2, node.on("m1", "b1", 1))
		a.live()
		time.Sleep(2 * time.Second)
		for i, wait := range []int{5, 10, 20, 20, 20} {
			got := copied.from([]*fabric{s1, s2}[i%2], copied.on("m1", "b2", 1)).hear()
			if !strings.HasPrefix(got, fmt.Sprintf("backoff %d s: ", wait)) {
				t.Errorf("try %d: %s", i, got)
			}
			time.Sleep(time.Duration(wait) * time.Second)
		}
		if o := s1.seen("n1"); len(o.Problems) != 1 {
			t.Errorf("while it tries: %+v", o.Problems)
		}
		time.Sleep(doubleKept)
		if o := s1.seen("n1"); len(o.Problems) != 0 {
			t.Errorf("later: %+v", o.Problems)
		}
		expect(t, "the node", a.ended(), "")
	})
}

// TestACopyDoesNotSlipIn: the node is away for a moment, and the copy happens to try.
// The node is back first; but one that stays away does not hold its place for ever.
func TestACopyDoesNotSlipIn(t *testing.T) {
	for what, server := range map[string]int{"at its server": 1, "at another": 0} {
		synctest.Test(t, func(t *testing.T) {
			s1 := newFabric(t, nil)
			s2 := s1.second()
			on := []*fabric{s1, s2}[server]
			node, copied := &speaks{name: "i1", addr: "192.0.2.1"}, &speaks{name: "i2", addr: "192.0.2.66"}
			tries := func() string {
				a := copied.from(on, copied.on("m1", "b2", 1))
				got := a.hear()
				if strings.Contains(got, "complete") {
					a.live()
				}
				return got
			}
			for range 2 {
				a := node.from(s2, node.on("m1", "b1", 1))
				a.live()
				time.Sleep(5 * time.Second)
				tries()
				time.Sleep(2 * time.Second)
				a.gone()
				time.Sleep(time.Second)
				if got := tries(); !strings.HasPrefix(got, "backoff 2 s: node n1 speaks from machine m1 at 192.0.2.1") {
					t.Errorf("%s: it heard %q", what, got)
				}
			}
			time.Sleep(9 * time.Second)
			if got := tries(); !strings.Contains(got, "complete") {
				t.Errorf("%s: the node is gone, and it heard %q", what, got)
			}
		})
	}
}

// TestTheServerOfTheHolderIsAway: it cannot be asked. A node that was started again
// is let in; another machine has to wait until the holder would be back.
func TestTheServerOfTheHolderIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s1 := newFabric(t, nil)
		s2 := s1.second()
		node, copied := &speaks{name: "i1", addr: "192.0.2.1"}, &speaks{name: "i2", addr: "192.0.2.66"}
		a := node.from(s2, node.on("m1", "b1", 1))
		a.live()
		time.Sleep(3 * time.Second)
		s2.hub.Cut("n1", "as if its server were no more")
		s1.write(kind.ObservedNode("n1"), []byte(`{"run":"r101","instance":"i1","machine":"m1","boot":"b1","address":"192.0.2.1"}`))
		time.Sleep(time.Second)
		for range 4 {
			if got := copied.from(s1, copied.on("m2", "b2", 1)).hear(); !strings.HasPrefix(got, "backoff 2 s: ") {
				t.Errorf("another machine heard %q", got)
			}
			time.Sleep(1900 * time.Millisecond)
		}
		again := &speaks{name: "i3", addr: "192.0.2.1"}
		if got := again.from(s1, again.on("m1", "b3", 1)).hear(); !strings.Contains(got, "complete") {
			t.Errorf("the machine that was started again heard %q", got)
		}
	})
}

// FuzzContest: what another server says is read or refused.
func FuzzContest(f *testing.F) {
	f.Add([]byte("\x0a\x02\x0a\x00"))
	hub := New(Config{})
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = hub.Handed(t.Context(), "n1", MethodContest, b) })
}
