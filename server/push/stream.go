package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrStopping is why streams end when their server does.
var ErrStopping = status.Error(codes.Unavailable, "this server is stopping; try another, or again")

// Why else the server ends a stream.
var (
	errStarting = status.Error(codes.Unavailable, "this server is starting; try another, or again")
	errSilent   = status.Error(codes.DeadlineExceeded, "nothing was heard from the agent; is the path between us dead?")
	errGone     = status.Error(codes.Canceled, "the agent went")
	errStalled  = status.Error(codes.DeadlineExceeded, "the agent does not read what it is sent")
)

// stream is one agent's connection. One goroutine reads for as long as it stands;
// another, write, is there while something is to be sent.
type stream struct {
	hub     *Hub
	wire    wire
	ctx     context.Context
	cut     context.CancelCauseFunc // the first cause is the reason
	number  uint64                  // of all streams, in the order of their coming
	node    *node                   // set before the agent is let in, as what follows
	name    string
	speaker speaker
	streams uint64 // its number among those of the agent's process
	remote  string // address and port
	manner
	knows    []string // collections
	welcomed bool     // it is to be told who we are; write's own
	owes     bool     // it was let in before anybody answered for its lease
	entered  uint64   // tick of the heartbeats after which it was let in

	takesServers bool                 // it keeps the list of servers
	servers      *weftv1.SyncResponse // that it was told last; write's own

	reported time.Time // of the last report that was stored at once; read's own
	resynced time.Time // of the last full set that was asked for; read's own

	standing standing // for a full set; the hub's turns'
	turned   int

	answers bool      // questions; set before the agent is let in
	meshes  bool      // pairs that choose their way; likewise
	offered time.Time // when the echo's cookie is due again; write's own
	pulse   signal    // a message came

	mu        sync.Mutex
	asking    asking
	faith     faith
	dues      due
	writing   bool  // write runs
	kicked    bool  // there may be something to send
	beating   bool  // a heartbeat is due
	sequence  int64 // of heartbeats
	objectRev int64 // of the last Complete that followed objects
	early     int64 // acknowledged before it was sent
	claimed   bool  // what the agent claims was heard

	claims  []kind.Claim // of the parts so far; read's own
	carried int          // bytes of them
}

// due is where a stream's agent is.
type due struct {
	whole bool   // a full set is due
	place uint64 // in history, up to which it was told
	extra []ref  // that it may miss beside
	sent  int64  // revision of the last Complete
	again bool   // Complete is due, whatever its revision
}

func newStream(ctx context.Context, h *Hub, w wire) *stream {
	s := &stream{hub: h, wire: w, number: h.count.Add(1)}
	s.ctx, s.cut = context.WithCancelCause(ctx)
	return s
}

// reason is why the stream ended, as the agent is told. It is never nil.
func (s *stream) reason() error {
	err := context.Cause(s.ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
		return errGone
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}

// kick has what is new sent.
func (s *stream) kick() { s.rouse(false) }

// beat has a heartbeat sent.
func (s *stream) beat() { s.rouse(true) }

func (s *stream) rouse(beat bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kicked, s.beating = s.kicked || !beat, s.beating || beat
	if !s.writing {
		s.writing = s.hub.work.start(s.write)
	}
}

// asked tells what write has to do, and takes it off; nothing means that write
// ends.
func (s *stream) asked() (news, beat bool, sequence int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	news, beat = s.kicked, s.beating
	s.kicked, s.beating = false, false
	if beat {
		s.sequence++
	}
	s.writing = (news || beat) && s.ctx.Err() == nil
	return news, beat, s.sequence
}

// write sends what is due until nothing is. An agent that does not take a message
// within Dead is cut.
func (s *stream) write() {
	stalled := time.AfterFunc(s.hub.cfg.Dead, func() { s.cut(errStalled) })
	defer stalled.Stop()
	send := func(m *weftv1.SyncResponse) bool {
		stalled.Reset(s.hub.cfg.Dead)
		if err := s.wire.Send(m); err != nil {
			s.cut(err)
			return false
		}
		return true
	}
	for {
		news, beating, sequence := s.asked()
		if !news && !beating {
			return
		}
		if news && !s.tell(send) || beating && !send(beat(sequence)) || !s.offer(send) || !s.flush() {
			stalled.Stop()
			s.asked()
			return
		}
	}
}

// flush has what was sent leave. It answers false when the stream has ended.
func (s *stream) flush() bool {
	err := s.wire.Flush()
	if err != nil {
		s.cut(err)
	}
	return err == nil
}

// tell sends what is new, if it is the stream's turn. It answers false when the
// stream has ended.
func (s *stream) tell(send func(*weftv1.SyncResponse) bool) bool {
	if !s.introduce(send) {
		return false
	}
	for _, q := range s.questions() {
		if !send(q) {
			return false
		}
	}
	if s.due().whole && !s.hub.turns.take(s) {
		return true
	}
	defer s.hub.turns.done(s)
	t := s.hub.next(s)
	if len(t.messages) == 0 {
		return true
	}
	s.sending(t) // before: the agent may be quick to acknowledge
	for _, m := range t.messages {
		if !send(m) {
			return false
		}
	}
	return true
}

// introduce says who we are, once, and where servers are and which roots count,
// when that changes.
func (s *stream) introduce(send func(*weftv1.SyncResponse) bool) bool {
	if s.welcomed {
		if s.welcomed = false; !send(welcome(s.hub.cfg.Server)) {
			return false
		}
	}
	if l := s.hub.servers.Load(); l != s.servers && s.takesServers {
		if s.servers = l; !send(l) {
			return false
		}
	}
	if t := s.trust(); t != nil {
		return send(t)
	}
	return true
}

// due is where the agent is.
func (s *stream) due() due {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dues
}

// sending notes where the agent is about to be.
func (s *stream) sending(t told) {
	s.mu.Lock()
	s.dues = due{place: t.place, sent: t.revision, whole: s.dues.whole && !t.whole}
	if t.objects {
		s.objectRev = t.revision
	}
	early := s.early
	if early <= t.revision {
		s.early = 0
	}
	s.mu.Unlock()
	s.node.sent(t.revision)
	if early > 0 && early <= t.revision {
		s.applied(early)
	}
}

// again makes a full set due.
func (s *stream) again() {
	s.mu.Lock()
	s.dues.whole = true
	s.mu.Unlock()
	s.kick()
}

func (s *stream) wants(o object) bool {
	return o.Audience.Has(s.name) && s.understands(o.Collection)
}

func (s *stream) understands(collection string) bool { return slices.Contains(s.knows, collection) }

func refuse(code codes.Code, format string, args ...any) error {
	return status.Error(code, fmt.Sprintf(format, args...))
}
