package uplink

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// TestLooking: what a server hears of problems on one stream after the other, so that it
// lets stand what it knows of until the host has been looked at.
func TestLooking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newOutbox("n1")
		b.setReport(Report{})
		var s sent
		hello := func() string {
			s = sent{endpoints: map[string]Endpoint{}}
			b.hello(&s)
			return fmt.Sprint("follow ", s.owed)
		}
		next := func() string {
			var out []string
			for _, m := range b.next(&s) {
				if p, ok := m.GetMessage().(*weftv1.SyncRequest_Problems); ok {
					out = append(out, fmt.Sprintf("looking %v, %d problems", p.Problems.GetLooking(), len(p.Problems.GetProblems())))
				}
			}
			return strings.Join(out, "; ")
		}
		problem := []intent.Problem{{Subject: "ufw", Cause: "drops"}}
		for _, step := range []struct {
			name string
			do   func() string
			want string
		}{
			{"an agent that does not look at a host", hello, "follow false"},
			{"has nothing to say", next, ""},
			{"one that has just begun", func() string { b.setLooking(true); return hello() }, "follow true"},
			{"says so", next, "looking true, 0 problems"},
			{"once", next, ""},
			{"and what it has found so far", func() string { b.setProblems("agent", problem); return next() }, "looking true, 1 problems"},
			{"on the next stream as well", hello, "follow true"},
			{"it says the same", next, "looking true, 1 problems"},
			{"that it has looked is news", func() string { b.setLooking(false); return next() }, "looking false, 1 problems"},
			{"the next stream is told of it", hello, "follow true"},
			{"what it said is owed, also when it is over", func() string { b.setProblems("agent", nil); return next() }, "looking false, 0 problems"},
			{"then there is nothing to be told of", hello, "follow false"},
			{"at all", next, ""},
		} {
			if got := step.do(); got != step.want {
				t.Errorf("%s: %q, want %q", step.name, got, step.want)
			}
		}
	})
}
