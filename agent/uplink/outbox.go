package uplink

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Bounds on what goes up.
const (
	deltaSize = 500  // endpoints in one message, of about 300 bytes each
	maxErrors = 1000 // object errors told; the rest waits for these to be mended
	maxError  = 500  // bytes of one
)

// outbox holds the latest of everything that goes up. Streams compare it with
// what they sent, so it never queues and a reconnect repeats what is needed.
type outbox struct {
	node string
	wake chan struct{} // room for one

	mu        sync.Mutex
	roots     []string // that the disk holds, by hash
	reported  bool
	report    Report
	lease     []netip.Prefix
	problems  ledger
	looking   bool     // the host has not been looked at yet
	settings  []string // of the host, that the agent has changed
	errors    map[intent.ID]objectError
	endpoints map[string]Endpoint
	pools     Pools
	paths     Paths
	unfiled   int64  // revision of the intent held while it is not on disk yet
	epoch     string // of the intent that may be acknowledged
	ceiling   int64  // its revision
	applied   int64
}

type objectError struct {
	revision int64
	text     string
}

func newOutbox(node string) *outbox {
	return &outbox{node: node, wake: make(chan struct{}, 1)}
}

// wake fills a channel that has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// clip bounds a text that goes up; protobuf takes valid UTF-8 only.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxError)], "") }

// change runs f under the lock and wakes the sender if f says so.
func (b *outbox) change(f func() bool) {
	b.mu.Lock()
	changed := f()
	b.mu.Unlock()
	if changed {
		wake(b.wake)
	}
}

func (b *outbox) setReport(r Report) {
	b.change(func() bool {
		changed := !b.reported || !b.report.equal(r)
		b.report, b.reported = r, true
		return changed
	})
}

func (b *outbox) setProblems(source string, ps []intent.Problem) {
	b.change(func() bool { return b.problems.set(source, ps, time.Now()) })
}

// setSettings says which settings of the host the agent has changed.
func (b *outbox) setSettings(lines []string) {
	b.change(func() bool {
		changed := !slices.Equal(b.settings, lines)
		b.settings = lines
		return changed
	})
}

// setLooking says whether the host is still to be looked at: then what the problems do
// not name may be so all the same.
func (b *outbox) setLooking(looking bool) {
	b.change(func() bool {
		changed := b.looking != looking
		b.looking = looking
		return changed
	})
}

func (b *outbox) isLooking() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.looking
}

func (b *outbox) listProblems() []intent.Problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems.all()
}

func (b *outbox) setEndpoints(es []Endpoint) {
	next := make(map[string]Endpoint, len(es))
	for _, e := range es {
		next[e.key(b.node)] = e
	}
	b.change(func() bool {
		changed := !maps.EqualFunc(b.endpoints, next, Endpoint.equal)
		b.endpoints = next
		return changed
	})
}

func (b *outbox) setApplied(rev int64) {
	b.change(func() bool {
		changed := b.applied != rev
		b.applied = rev
		return changed
	})
}

// setIntent notes what is held: what may be acknowledged, carried and complained of.
func (b *outbox) setIntent(h *held, bad []intent.ObjectError) {
	self, _ := h.set.Peer(h.name)
	errs := make(map[intent.ID]objectError, len(bad))
	for _, e := range bad[:min(len(bad), maxErrors)] {
		errs[intent.ID{Collection: e.Collection, Key: e.Key}] = objectError{h.revision, clip(e.Err.Error())}
	}
	b.change(func() bool {
		changed := !maps.Equal(b.errors, errs) || !slices.Equal(b.lease, self.Lease)
		b.errors, b.lease = errs, self.Lease
		return b.raise(h) || changed
	})
}

// setRevision notes that what is held stands for a later revision too.
func (b *outbox) setRevision(h *held) {
	b.change(func() bool { return b.raise(h) })
}

// setUnfiled notes that an intent is not on disk yet.
func (b *outbox) setUnfiled(revision int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unfiled = revision
}

// setFiled notes that an intent is on disk.
func (b *outbox) setFiled(epoch string, revision int64) {
	b.change(func() bool {
		waited := b.unfiled > 0 && b.epoch == epoch && b.unfiled <= revision
		if waited {
			b.unfiled = 0
		}
		return waited
	})
}

// raise sets up to where may be acknowledged, and tells whether that lets an
// acknowledgement go that waited.
func (b *outbox) raise(h *held) bool {
	if b.epoch != h.epoch {
		b.applied = 0
	}
	waited := b.applied > b.ceiling
	b.epoch, b.ceiling = h.epoch, h.revision
	return waited
}

// awaitReport returns when there is a report, or when ctx ends.
func (b *outbox) awaitReport(ctx context.Context) error {
	for {
		b.mu.Lock()
		there := b.reported
		b.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.wake:
		}
	}
}

// hello returns the first report, and whether there is one yet. The server is to hear of
// problems on the stream if there are any, or may be.
func (b *outbox) hello(s *sent) (*weftv1.NodeReport, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.reported {
		return nil, false
	}
	s.report, s.lease, s.roots = b.report, b.lease, b.roots
	s.owed = b.looking || len(b.problems.all()) > 0
	return b.report.wire(b.lease), true
}

// sent is what one stream has sent.
type sent struct {
	report    Report
	lease     []netip.Prefix
	problems  []intent.Problem
	looking   bool
	owed      bool // a report of problems was announced and is yet to be sent
	settings  []string
	roots     []string
	errors    map[intent.ID]objectError
	endpoints map[string]Endpoint // nil before the full set
	pools     Pools
	paths     Paths
	acked     int64
	epoch     string
	told      bool // by this stream what should be: before, nothing can be acknowledged
}

// next returns the messages that bring the server from what was sent to what
// is, and notes them as sent.
func (b *outbox) next(s *sent) []*weftv1.SyncRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := append(b.nextErrors(s), b.nextRoots(s)...)
	if b.epoch != s.epoch {
		s.epoch, s.acked = b.epoch, 0
	}
	if s.told && b.applied > s.acked && b.applied <= b.ceiling {
		s.acked = b.applied
		out = append(out, &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Ack{Ack: &weftv1.Ack{Epoch: b.epoch, Revision: b.applied}}})
	}
	if !b.report.equal(s.report) || !slices.Equal(b.lease, s.lease) {
		s.report, s.lease = b.report, b.lease
		out = append(out, &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Report{Report: b.report.wire(b.lease)}})
	}
	if ps := b.problems.all(); s.owed || b.looking != s.looking || !slices.Equal(ps, s.problems) || !slices.Equal(b.settings, s.settings) {
		s.problems, s.settings, s.looking, s.owed = ps, b.settings, b.looking, false
		report := wireProblems(b.node, ps)
		report.Settings, report.Looking = b.settings, b.looking
		out = append(out, &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Problems{Problems: report}})
	}
	out = append(append(out, b.nextEndpoints(s)...), b.nextPools(s)...)
	return append(out, b.nextPaths(s)...)
}

// nextErrors goes before the ack: an ack holds as far as no error says otherwise.
func (b *outbox) nextErrors(s *sent) []*weftv1.SyncRequest {
	var out []*weftv1.SyncRequest
	say := func(id intent.ID, rev int64, text, remedy string) {
		out = append(out, &weftv1.SyncRequest{Message: &weftv1.SyncRequest_ObjectError{ObjectError: &weftv1.ObjectError{
			Collection: id.Collection, Key: id.Key, Revision: rev, Error: text, Remedy: remedy,
		}}})
	}
	for _, id := range sortedIDs(s.errors) {
		if _, ok := b.errors[id]; !ok {
			say(id, b.ceiling, "", "")
		}
	}
	for _, id := range sortedIDs(b.errors) {
		if was, ok := s.errors[id]; !ok || was.text != b.errors[id].text {
			say(id, b.errors[id].revision, b.errors[id].text, objectRemedy)
		}
	}
	s.errors = b.errors // replaced whole, never changed in place
	return out
}

const objectRemedy = "upgrade the agent to the server's release, or correct the object"

func (b *outbox) nextEndpoints(s *sent) []*weftv1.SyncRequest {
	full := s.endpoints == nil
	var upsert []*weftv1.EndpointRecord
	for _, key := range slices.Sorted(maps.Keys(b.endpoints)) {
		if was, ok := s.endpoints[key]; !ok || !was.equal(b.endpoints[key]) {
			upsert = append(upsert, b.endpoints[key].Record(b.node))
		}
	}
	var remove []string
	for _, key := range slices.Sorted(maps.Keys(s.endpoints)) {
		if _, ok := b.endpoints[key]; !ok {
			remove = append(remove, key)
		}
	}
	s.endpoints = b.endpoints
	if s.endpoints == nil {
		s.endpoints = map[string]Endpoint{}
	}
	var out []*weftv1.SyncRequest
	for full || len(upsert)+len(remove) > 0 {
		u, r := min(deltaSize, len(upsert)), min(deltaSize, len(remove))
		out = append(out, &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Endpoints{Endpoints: &weftv1.EndpointDelta{Full: full, Upsert: upsert[:u], Remove: remove[:r]}}})
		upsert, remove, full = upsert[u:], remove[r:], false
	}
	return out
}

func sortedIDs(m map[intent.ID]objectError) []intent.ID {
	return slices.SortedFunc(maps.Keys(m), intent.ID.Compare)
}

func wireProblems(node string, ps []intent.Problem) *weftv1.ProblemReport {
	m := &weftv1.ProblemReport{}
	for _, p := range ps {
		m.Problems = append(m.Problems, &weftv1.Problem{
			Subject: p.Subject, Cause: p.Cause, Remedy: p.Remedy, SinceUnix: p.SinceUnix, Node: node,
		})
	}
	return m
}
