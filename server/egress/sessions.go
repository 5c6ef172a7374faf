package egress

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// Bounds on tunnels.
const (
	maxSessions = 12_000          // of agents: a process has 20,000 files
	maxOlder    = 4               // of a node that drain; the oldest is closed
	answerIn    = 2 * time.Second // for who holds a name, before another gets it
	backWithin  = 3 * time.Second // that a dial waits for a node whose tunnel has just ended
)

// sessions are the tunnels of this server. Of a node one is used: the newest of the
// agent's process that holds its name. It is safe for concurrent use.
type sessions struct {
	mu    sync.Mutex
	held  map[string]*session
	older map[string][]*session    // replaced; what goes through them ends
	last  map[string]ending        // how the last session of a node did
	await map[string]chan struct{} // closed when a node comes that is waited for
	back  map[string]uint64        // nodes that came again, by why
	total Figures                  // of those that have ended
}

func newSessions() *sessions {
	return &sessions{held: map[string]*session{}, older: map[string][]*session{}, last: map[string]ending{}, await: map[string]chan struct{}{}, back: map[string]uint64{}}
}

// ending is how a session ended: why, in one word, and when.
type ending struct {
	why string
	at  time.Time
}

// Why a session ended, and a reconnection is counted by.
var (
	errReplaced = errors.New("a newer tunnel of the same agent took its place")
	errSilent   = errors.New("another process of the agent came, and this one did not answer")
	errStopping = errors.New("the server stops")
	errTaken    = errors.New("another process of the agent came at the same time")
)

// challenge lets a process of an agent claim a node's name: nobody has it, or the
// same process, or one that does not answer any more.
func (s *sessions) challenge(ctx context.Context, node, instance string) error {
	holder := s.get(node)
	if holder == nil || holder.instance == instance {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	if !holder.link.Answers(ctx) {
		holder.link.End(errSilent)
		return nil
	}
	return refuse(Ambiguous, "another agent is node %s: it holds the name from %s since %s, and answers", node, holder.from, holder.since.UTC().Format(time.RFC3339)).
		do("if that is a clone, give this one a name of its own: weft-agent --node-name NAME; if this one took its place, stop that one")
}

// enter makes a session the node's. What it replaces drains.
func (s *sessions) enter(new *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.held[new.node]
	if old != nil && old.gone() {
		old = nil
	}
	if old != nil && old.instance != new.instance {
		return errTaken // it was not there when this one was let in
	}
	if old == nil && len(s.held) >= maxSessions {
		return refuse(Overloaded, "this server holds %d tunnels; at most %d are accepted", len(s.held), maxSessions).do("the agent's other servers may have room")
	}
	s.held[new.node] = new
	switch before, was := s.last[new.node]; {
	case old != nil:
		s.back["replaced"]++
		s.retire(old)
	case was:
		s.back[before.why]++
	}
	delete(s.last, new.node)
	if waited := s.await[new.node]; waited != nil {
		close(waited)
		delete(s.await, new.node)
	}
	return nil
}

// retire lets a session drain. s.mu is held.
func (s *sessions) retire(old *session) {
	list := append(s.older[old.node], old)
	if len(list) > maxOlder {
		list[0].link.End(errReplaced)
		list = list[1:]
	}
	s.older[old.node] = list
	old.link.Drain()
}

// leave takes a session out that has ended, for a reason of one word.
func (s *sessions) leave(gone *session, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := gone.link.Figures()
	s.total.Opened, s.total.Sent, s.total.Received, s.total.Stalls = s.total.Opened+f.Opened, s.total.Sent+f.Sent, s.total.Received+f.Received, s.total.Stalls+f.Stalls
	if s.held[gone.node] == gone {
		delete(s.held, gone.node)
		s.last[gone.node] = ending{why, time.Now()}
	}
	list := slices.DeleteFunc(s.older[gone.node], func(o *session) bool { return o == gone })
	if s.older[gone.node] = list; len(list) == 0 {
		delete(s.older, gone.node)
	}
}

// forget is for a node that is no more.
func (s *sessions) forget(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, node)
	delete(s.await, node)
}

// again tells whether a node whose tunnel has just ended has another, and waits for it:
// an agent that was started again is back in less than a second.
func (s *sessions) again(ctx context.Context, node string) bool {
	s.mu.Lock()
	left := time.Duration(0)
	if e, was := s.last[node]; was {
		left = backWithin - time.Since(e.at)
	}
	if held := s.held[node]; held != nil {
		if !held.gone() {
			s.mu.Unlock()
			return true
		}
		left = backWithin // it is about to leave
	}
	if left <= 0 {
		s.mu.Unlock()
		return false
	}
	back := s.await[node]
	if back == nil {
		back = make(chan struct{})
		s.await[node] = back
	}
	s.mu.Unlock()
	patience := time.NewTimer(left)
	defer patience.Stop()
	select {
	case <-back:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	return false
}

// get answers with the session of a node, nil if it has none here.
func (s *sessions) get(node string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.held[node]; held != nil && !held.gone() {
		return held
	}
	return nil
}

// sampled is how many sessions are looked at for the idlest: it need not be that of
// all, and there may be thousands.
const sampled = 8

// least answers with the session of some nodes that has the fewest streams. nil: none
// of them has one here.
func (s *sessions) least(nodes []string) *session {
	var some []*session
	for _, node := range nodes {
		if held := s.get(node); held != nil {
			some = append(some, held)
		}
	}
	return idlest(some)
}

// any answers with a session that has few streams, nil if there is none here.
func (s *sessions) any() *session {
	s.mu.Lock()
	var some []*session
	for _, held := range s.held { // in no order, another each time
		if !held.gone() {
			some = append(some, held)
		}
		if len(some) == sampled {
			break
		}
	}
	s.mu.Unlock()
	return idlest(some)
}

func idlest(some []*session) *session {
	var best *session
	streams := 0
	for _, c := range some {
		if n := c.link.Figures().Streams; best == nil || n < streams {
			best, streams = c, n
		}
	}
	return best
}

// listed is a session as it stands.
type listed struct {
	*session
	draining bool
}

// list is all sessions, by node, those that drain after the one that is used.
func (s *sessions) list() []listed {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []listed
	for _, held := range s.held {
		out = append(out, listed{held, false})
	}
	for _, list := range s.older {
		for _, o := range list {
			out = append(out, listed{o, true})
		}
	}
	slices.SortFunc(out, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.node, b.node), a.rank()-b.rank(), b.since.Compare(a.since))
	})
	return out
}

func (l listed) rank() int {
	if l.draining {
		return 1
	}
	return 0
}

// counted are the sums of all sessions there were, the live ones among them, and
// how often nodes came again, by why.
func (s *sessions) counted() (total Figures, live int, back map[string]uint64) {
	list := s.list()
	s.mu.Lock()
	defer s.mu.Unlock()
	total, back = s.total, maps.Clone(s.back)
	for _, l := range list {
		f := l.link.Figures()
		total.Streams += f.Streams
		total.Opened, total.Sent, total.Received = total.Opened+f.Opened, total.Sent+f.Sent, total.Received+f.Received
		total.Stalls, total.Buffered = total.Stalls+f.Stalls, total.Buffered+f.Buffered
	}
	return total, len(list), back
}
