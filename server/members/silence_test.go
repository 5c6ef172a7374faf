package members

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// TestWhoIsToBeStarted: what a person is told of a store that answers nobody, from
// the records, the members, and who answers the server that is asked.
func TestWhoIsToBeStarted(t *testing.T) {
	const three = "s1 live, s2 live, s3 live"
	for _, c := range []struct{ name, records, members, away, mode, cause, remedy string }{
		{"two of three gone", three, "s1 s2 s3", "s1 s3", Clustered, "1 of 3 servers answers: no quorum", "start s1, s3 (there: systemctl start weft-server); if they are gone for good, on s2: stop weft-server, run weft-server --cluster-reset"},
		{"one stopped before", "s1 stopped, s2 live, s3 live", "s1 s2 s3", "s1 s3", Clustered, "1 of 3 servers answers: no quorum", "start s1, s3 "},
		{"one lost before, that waits now", "s1 lost, s2 live, s3 live", "s1 s2 s3", "s3", Clustered, "(2 of 3 servers answer)", "etcd elects another leader within seconds"},
		{"one of two gone", "s1 live, s2 live", "s1 s2", "s1", Clustered, "1 of 2 servers answers: no quorum", "start s1 "},
		{"three of five gone", three + ", s4 live, s5 live", "s1 s2 s3 s4 s5", "s3 s4 s5", Clustered, "2 of 5 servers answer: no quorum", "start s3, s4, s5 "},
		{"a learner has no vote", "s1 live, s2 live, s3 live, s4 live", "s1 s2 s3 s4?", "s1 s3", Clustered, "1 of 3 servers answers: no quorum", "start s1, s3 "},
		{"all there", three, "s1 s2 s3", "", Clustered, "the store answers nobody: the embedded etcd has no leader", "etcd elects another leader within seconds"},
		{"an etcd elsewhere", three, "", "s1", Elsewhere, "the store answers nobody: the embedded etcd has no leader", "look at etcd itself (etcdctl endpoint health)"},
		{"one alone", "s2 live", "", "", Alone, "the store answers nobody", "journalctl -u weft-server here, and this server's disk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := New(Config{Server: Server{Name: "s2"}, Store: storetest.New(), Mode: c.mode})
			if c.members != "" {
				r.cfg.Roster = fixed{rosterOf(c.members)}
			}
			s := Silence{Since: clock, Cause: errNoQuorum, asked: map[string]bool{}, away: map[string]time.Time{}}
			all := list(entries(c.records), "s1", rosterOf(c.members), clock)
			for _, one := range all {
				s.asked[one.Name] = one.Name != "s2"
			}
			for _, name := range strings.Fields(c.away) {
				s.away[name] = clock
			}
			p := r.silent(s, s.reached(all, "s2"))
			if !strings.Contains(p.Cause, c.cause) || !strings.Contains(p.Remedy, c.remedy) {
				t.Errorf("got  %s\n     %s\nwant %s\n     %s", p.Cause, p.Remedy, c.cause, c.remedy)
			}
		})
	}
}

// TestReached: who is there is what this server sees; nobody is said to lead.
func TestReached(t *testing.T) {
	s := Silence{Since: clock, asked: map[string]bool{"s1": true, "s3": true, "s4": true, "s5": true}, away: map[string]time.Time{"s1": clock, "s5": clock}}
	all := list(entries("s1 live, s2 live, s3 live, s4 lost, s5 stopped, s6 lost"), "s1", nil, clock)
	if diff := cmp.Diff("s1 Unreachable 1000, s2 Ready 100, s3 Ready 100, s4 Waiting, s5 Stopped 200, s6 Lost 300", text(s.reached(all, "s2"))); diff != "" {
		t.Error(diff)
	}
}

// TestOnEdge: the last quorum is one of members that vote.
func TestOnEdge(t *testing.T) {
	for _, c := range []struct{ records, members, want string }{
		{"s1 live, s2 live, s3 live", "s1 s2 s3", ""},
		{"s1 live, s2 live, s3 lost", "s1 s2 s3", "2 of 3 servers answer: when one more goes"},
		{"s1 live, s2 live, s3 lost", "s1", ""},           // after --cluster-reset: records of those that were
		{"s1 live, s2 live, s3 joining", "s1 s2 s3?", ""}, // it has no vote yet
		{"s1 live, s2 live, s3 live, s4 joining", "s1 s2 s3 s4?", ""},
		{"s1 live, s2 live, s3 live", "s1 s2 s3 s4?", ""},       // so has one that left no record
		{"s1 live, s2 live", "s1 s2", ""},                       // both are needed, and both are there
		{"s1 live, s2 live, s3 joining", "s1 s2 s3", "2 of 3 "}, // it has its vote, and serves in a moment
		{"s1 live, s2 lost", "", ""},                            // an etcd elsewhere
	} {
		p, _ := onEdge(list(entries(c.records), "s1", rosterOf(c.members), clock), rosterOf(c.members))
		if (c.want == "") != (p.Cause == "") || !strings.Contains(p.Cause, c.want) {
			t.Errorf("%s, members %s: got %q, want %q", c.records, c.members, p.Cause, c.want)
		}
		if c.want != "" && !strings.HasPrefix(p.Remedy, "start s3; ") {
			t.Errorf("%s, members %s: do %q", c.records, c.members, p.Remedy)
		}
	}
}

// fixed is a list of members that does not change.
type fixed struct{ all []store.Member }

func (f fixed) Members(context.Context) ([]store.Member, error)  { return f.all, nil }
func (fixed) AddLearner(context.Context, string) (uint64, error) { return 0, nil }
func (fixed) Promote(context.Context, uint64) error              { return nil }
func (fixed) RemoveMember(context.Context, uint64) error         { return nil }

// deaf is a store that can fall silent.
type deaf struct {
	*storetest.Memory
	silent atomic.Bool
}

func (d *deaf) Get(ctx context.Context, key string) (store.Entry, error) {
	if d.silent.Load() {
		<-ctx.Done()
		return store.Entry{}, errors.New("etcd: get: it does not answer")
	}
	return d.Memory.Get(ctx, key)
}

// TestSilence: a store that answers nobody is noticed within seconds, and not in
// those that an election takes; so is that it answers again.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &deaf{Memory: storetest.New()}
		r := New(Config{Server: Server{Name: "a", Address: "127.0.0.1:1"}, Store: m, Mode: Elsewhere, DialTLS: &tls.Config{MinVersion: tls.VersionTLS13}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		defer func() { cancel(); <-done }()
		time.Sleep(5 * time.Second)
		if p, silent := r.Silent(); silent {
			t.Error("silent, and it answers:", p)
		}
		m.silent.Store(true)
		changed := r.Changed()
		began := time.Now()
		<-changed
		if took := time.Since(began); took < sureAfter || took > sureAfter+readEvery+2*readWithin+2*beatEvery {
			t.Error("noticed after", took)
		}
		if p, silent := r.Silent(); !silent || !strings.Contains(p.Cause, "the store answers nobody: get: it does not answer") || p.Since.IsZero() {
			t.Error(p)
		}
		m.silent.Store(false)
		changed = r.Changed()
		began = time.Now()
		<-changed
		if took := time.Since(began); took > readWithin+2*beatEvery {
			t.Error("it answers again, noticed after", took)
		}
		if p, silent := r.Silent(); silent {
			t.Error(p)
		}
	})
}
