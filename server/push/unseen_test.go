package push

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
)

// tells is a report of problems by subject, each with the same cause.
func tells(looking bool, subjects ...string) *weftv1.SyncRequest {
	r := &weftv1.ProblemReport{Looking: looking}
	for _, s := range subjects {
		r.Problems = append(r.Problems, &weftv1.Problem{Subject: s, Cause: "down", SinceUnix: time.Now().Unix()})
	}
	return &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Problems{Problems: r}}
}

func subjects(ps []kind.Problem) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Subject)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestUnseen: what a node told of stands while its agent, begun anew, has not looked.
func TestUnseen(t *testing.T) {
	for _, tt := range []struct {
		name   string
		follow bool // the new agent says that it will tell
		hasty  bool // an agent between the two goes before it has looked
		says   []*weftv1.SyncRequest
		beats  time.Duration // it beats for so long then
		want   string        // problems, and whether it is looking
		events string        // of the new stream
	}{
		{"an agent of a release that does not say so", false, false, nil, 0, "", ""},
		{"nothing is told yet", true, false, nil, 0, "eth0 ufw looking", ""},
		{"it is looking, and has found something else", true, false, []*weftv1.SyncRequest{tells(true, "disk")}, 0, "disk eth0 ufw looking", "+disk"},
		{"it is looking, and has found one of them", true, false, []*weftv1.SyncRequest{tells(true, "ufw")}, 0, "eth0 ufw looking", ""},
		{"it has looked, and it is all as it was", true, false, []*weftv1.SyncRequest{tells(true), tells(false, "eth0", "ufw")}, 0, "eth0 ufw", ""},
		{"it has looked, and one is mended", true, false, []*weftv1.SyncRequest{tells(true), tells(false, "eth0")}, 0, "eth0", "-ufw"},
		{"it has looked, and all is well", true, false, []*weftv1.SyncRequest{tells(false)}, 0, "", "-eth0 -ufw"},
		{"the one before went at once, and it is looking", true, true, []*weftv1.SyncRequest{tells(true)}, 0, "eth0 ufw looking", ""},
		{"the one before went at once, and one is mended", true, true, []*weftv1.SyncRequest{tells(true), tells(false, "eth0")}, 0, "eth0", "-ufw"},
		{"the one before went at once, and all is well", true, true, []*weftv1.SyncRequest{tells(false)}, 0, "", "-eth0 -ufw"},
		{"it never says that it has looked", true, false, []*weftv1.SyncRequest{tells(true)}, mostUnseen - 6*time.Second, "eth0 ufw looking", ""},
		{"nor later", true, false, []*weftv1.SyncRequest{tells(true)}, mostUnseen + 3*time.Second, "", "-eth0 -ufw"},
		{"nor says anything", true, false, nil, mostUnseen + 3*time.Second, "", "-eth0 -ufw"},
	} {
		for _, elsewhere := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, server begun anew %v", tt.name, elsewhere), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var events []string
					f := newFabric(t, func(c *Config) {
						c.Note = func(e journal.Event) {
							sign := map[string]string{"ProblemAppeared": "+", "ProblemGone": "-"}[e.Reason]
							if subject, _, ok := strings.Cut(e.Message, ":"); ok && sign != "" {
								events = append(events, sign+subject)
							}
						}
					})
					a := f.join(hello("n1", 1))
					a.hear()
					a.say(tells(false, "eth0", "ufw"))
					a.hear()
					since := time.Now().Unix()
					time.Sleep(5 * time.Second)
					a.gone()
					time.Sleep(5 * time.Second)
					if events = nil; elsewhere {
						f.stop()
						f.start()
					}
					h := hello("n1", 1)
					h.ProblemsFollow = tt.follow
					if tt.hasty {
						a = f.join(h)
						a.hear()
						a.say(tells(true))
						a.hear()
						a.gone()
						time.Sleep(2 * mostUnseen)
					}
					a = f.join(h)
					a.hear()
					time.Sleep(1500 * time.Millisecond) // it is written
					for _, m := range tt.says {
						a.say(m)
						a.hear()
					}
					for end := time.Now().Add(tt.beats); time.Now().Before(end); time.Sleep(time.Second) {
						a.say(beatUp())
						a.hear()
					}
					time.Sleep(1500 * time.Millisecond)
					o := f.observed("n1")
					got := subjects(o.Problems)
					if o.Looking {
						got += " looking"
					}
					if live, _ := f.hub.Status("n1"); got != tt.want || subjects(live.Problems) != subjects(o.Problems) {
						t.Errorf("stored %q, live %q, want %q", got, subjects(live.Problems), tt.want)
					}
					slices.Sort(events)
					if got := strings.Join(events, " "); got != tt.events {
						t.Errorf("events %q, want %q", got, tt.events)
					}
					for _, p := range o.Problems {
						if p.Subject != "disk" && p.SinceUnix != since {
							t.Errorf("%s since %d, want %d", p.Subject, p.SinceUnix, since)
						}
					}
				})
			})
		}
	}
}
