package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
)

// Times of listening to the store. That the embedded etcd has no leader costs
// nothing to see, and is seen first.
const (
	beatEvery   = 500 * time.Millisecond
	readEvery   = 2 * time.Second
	readWithin  = 2 * time.Second
	reachWithin = time.Second // each of the other servers
	// sureAfter is how long a store may take whose servers are there: to elect another
	// leader, or over a slow disk. Who asks meanwhile waits.
	sureAfter = 5 * time.Second
)

// Silence is a store that answers nobody, as this server sees it.
type Silence struct {
	Since time.Time // zero: it answers
	Cause error
	// away are the servers that did not answer this one, with since when; asked are
	// all that were asked.
	away  map[string]time.Time
	asked map[string]bool
	sure  bool // it will not pass in a moment
}

var errNoQuorum = errors.New("the embedded etcd has no leader")

// Silence tells whether the store answers nobody: there is no quorum, or it has
// lasted for some seconds.
func (r *Room) Silence() (Silence, bool) {
	s, _ := r.suspected()
	if !s.sure {
		return Silence{}, false
	}
	return s, true
}

// suspected is a silence that may be over in a moment.
func (r *Room) suspected() (Silence, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silence, !r.silence.Since.IsZero()
}

// Changed is closed at the next change of a record, of the leader, or of whether
// the store answers.
func (r *Room) Changed() <-chan struct{} { return r.next() }

// listen keeps whether the store answers, until ctx ends.
func (r *Room) listen(ctx context.Context) error {
	var read time.Time
	for pause(ctx, beatEvery) {
		_, silent := r.suspected()
		err := r.led()
		if now := r.cfg.Now(); err == nil && (silent || now.Sub(read) >= readEvery) {
			read, err = now, r.readable(ctx)
		} else if err == nil {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		r.hear(ctx, err)
	}
	return nil
}

// led says whether the embedded etcd has a leader.
func (r *Room) led() error {
	all := r.members()
	if len(all) > 0 && !slices.ContainsFunc(all, func(m store.Member) bool { return m.Leader }) {
		return errNoQuorum
	}
	return nil
}

// readable reads what costs least.
func (r *Room) readable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	_, err := r.cfg.Store.Get(ctx, liveKey(r.cfg.Server.Name))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// hear takes in what the store answered, and while it does not, who else is there.
func (r *Room) hear(ctx context.Context, err error) {
	was, silent := r.suspected()
	if err == nil {
		if silent {
			r.cfg.Log.Info("store answered again", note.Took, r.cfg.Now().Sub(was.Since))
			r.setSilence(Silence{})
		}
		return
	}
	now := Silence{Since: was.Since, Cause: err}
	if !silent {
		now.Since = r.cfg.Now()
		r.cfg.Log.Warn("store did not answer", note.Err, err)
	}
	now.away, now.asked = r.reach(ctx, was)
	up, voters := votes(now.reached(r.recorded(), r.cfg.Server.Name), r.members())
	now.sure = up < voters/2+1 && voters > 0 || r.cfg.Now().Sub(now.Since) >= sureAfter
	if ctx.Err() == nil {
		r.setSilence(now)
	}
}

func (r *Room) setSilence(s Silence) {
	r.mu.Lock()
	was := r.silence
	r.silence = s
	r.mu.Unlock()
	if was.sure != s.sure {
		r.moved()
	}
}

// reach asks all other servers whether they are there: where they serve, or, of
// those that wait for a quorum and serve nobody, where their etcd is reached.
func (r *Room) reach(ctx context.Context, was Silence) (away map[string]time.Time, asked map[string]bool) {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	away, asked = map[string]time.Time{}, map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, s := range r.Servers() {
		if s.Name == r.cfg.Server.Name {
			continue
		}
		asked[s.Name] = true
		all.Go(func() {
			if r.there(ctx, s) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if away[s.Name] = was.away[s.Name]; away[s.Name].IsZero() {
				away[s.Name] = r.cfg.Now()
			}
		})
	}
	all.Wait()
	return away, asked
}

// there tells whether a server answers at one of its addresses.
func (r *Room) there(ctx context.Context, s Status) bool {
	answers := make(chan bool, 2)
	for _, address := range []string{s.Address, strings.TrimPrefix(s.Peer, "https://")} {
		go func() { answers <- address != "" && Answers(ctx, address, r.cfg.DialTLS) }() // ends with ctx
	}
	for range cap(answers) {
		if <-answers {
			return true
		}
	}
	return false
}

// reached puts what this server sees over what the records say. Who leads is not
// known while the store answers nobody.
func (s Silence) reached(all []Status, self string) []Status {
	out := slices.Clone(all)
	for i := range out {
		one := &out[i]
		one.Leader = false
		since, away := s.away[one.Name]
		switch {
		case one.Name == self, !s.asked[one.Name], one.State == Stopped && away:
		case away:
			one.State, one.Since = Unreachable, since
		case one.State != Ready && one.State != Learner:
			one.State, one.Since = Waiting, time.Time{}
		}
	}
	return out
}

// Silent is what a person should know while the store answers nobody.
func (r *Room) Silent() (Problem, bool) {
	s, silent := r.Silence()
	if !silent {
		return Problem{}, false
	}
	return r.silent(s, r.Servers()), true
}

func (r *Room) silent(s Silence, all []Status) Problem {
	p := Problem{Subject: "store", Since: s.Since}
	up, voters := votes(all, r.members())
	if voters > 0 && up < voters/2+1 {
		p.Cause, p.Remedy = noQuorum(up, voters, r.cfg.Server.Name, all)
		return p
	}
	p.Cause = "the store answers nobody: " + strings.TrimPrefix(s.Cause.Error(), "etcd: ") + "; nothing can be read or written, nodes and pods run on"
	p.Remedy = "look at etcd itself (etcdctl endpoint health)"
	switch {
	case voters > 1:
		p.Cause = fmt.Sprintf("%s (%d of %d servers answer)", p.Cause, up, voters)
		p.Remedy = "etcd elects another leader within seconds; if this stays: journalctl -u weft-server on each server, and their disks"
	case r.cfg.Mode != Elsewhere:
		p.Remedy = "journalctl -u weft-server here, and this server's disk"
	}
	return p
}

// noQuorum names who is to be started: pure.
func noQuorum(up, voters int, self string, all []Status) (cause, remedy string) {
	var down []string
	for _, s := range all {
		if s.Name != self && s.State != Ready && s.State != Waiting && s.State != Learner {
			down = append(down, s.Name)
		}
	}
	verb := "answer"
	if up == 1 {
		verb = "answers"
	}
	return fmt.Sprintf("%d of %d servers %s: no quorum, so that nothing can be read or written; nodes and pods run on", up, voters, verb),
		fmt.Sprintf("start %s (there: systemctl start weft-server); if they are gone for good, on %s: stop weft-server, run weft-server --cluster-reset once, start it", strings.Join(down, ", "), self)
}
