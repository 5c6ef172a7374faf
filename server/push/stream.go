package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/compile"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Why the server ends a stream.
var (
	errStopping = status.Error(codes.Unavailable, "this server is stopping; try another, or again")
	errStarting = status.Error(codes.Unavailable, "this server is starting; try another, or again")
	errSilent   = status.Error(codes.DeadlineExceeded, "nothing was heard from the agent; is the path between us dead?")
	errGone     = status.Error(codes.Canceled, "the agent went")
	errStalled  = status.Error(codes.DeadlineExceeded, "the agent does not read what it is sent")
)

// stream is one agent's connection. Three goroutines meet here: Sync, which
// waits and answers with the reason of the end; read; and write.
type stream struct {
	hub     *Hub
	grpc    grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]
	ctx     context.Context
	cut     context.CancelCauseFunc // the first cause is the reason
	hello   chan *weftv1.Hello
	opened  chan struct{} // closed when the agent is let in
	wake    chan struct{} // room for one
	number  uint64        // of all streams, in the order of their coming
	node    *node         // set before opened is closed, as what follows
	name    string
	machine string
	boot    string
	version uint32   // compile version of what is sent
	knows   []string // collections

	reported time.Time // of the last report that was stored at once; read's own

	mu        sync.Mutex
	whole     bool             // a full set is due
	dirty     map[ref]struct{} // objects to send; empty while whole
	sentRev   int64            // of the last Complete
	objectRev int64            // of the last Complete that followed objects
}

func newStream(h *Hub, g grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse], ctx context.Context, cut context.CancelCauseFunc) *stream {
	return &stream{
		hub: h, grpc: g, ctx: ctx, cut: cut, number: h.count.Add(1),
		hello: make(chan *weftv1.Hello, 1), opened: make(chan struct{}), wake: make(chan struct{}, 1),
		dirty: map[ref]struct{}{},
	}
}

// Sync implements weftv1.NodeSyncServer.
func (h *Hub) Sync(g grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]) error {
	ctx, cut := context.WithCancelCause(g.Context())
	defer cut(nil)
	s := newStream(h, g, ctx, cut)
	if !h.start(s.read) {
		return errStopping
	}
	late := time.NewTimer(h.cfg.Dead)
	defer late.Stop()
	var hello *weftv1.Hello
	select {
	case hello = <-s.hello:
	case <-ctx.Done():
		return s.reason()
	case <-late.C:
		return status.Error(codes.DeadlineExceeded, "the stream opened without a hello")
	}
	if err := s.open(hello); err != nil {
		return err
	}
	defer h.leave(s)
	close(s.opened)
	if !h.start(s.write) {
		return errStopping
	}
	<-ctx.Done()
	return s.reason()
}

// start runs a goroutine that Run waits for, unless the hub is closed.
func (h *Hub) start(f func()) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return false
	}
	h.work.Go(f)
	return true
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

// read takes what the agent says until the stream ends.
func (s *stream) read() {
	silent := time.AfterFunc(s.hub.cfg.Dead, func() { s.cut(errSilent) })
	defer silent.Stop()
	for first := true; ; first = false {
		silent.Reset(s.hub.cfg.Dead)
		m, err := s.grpc.Recv()
		if err != nil {
			s.cut(err)
			return
		}
		silent.Stop() // our own work is not the agent's silence
		if first {
			hello := m.GetHello()
			if hello == nil {
				s.cut(status.Error(codes.InvalidArgument, "the first message of a stream must be a hello"))
				return
			}
			s.hello <- hello
			select {
			case <-s.opened:
			case <-s.ctx.Done():
				return
			}
			continue
		}
		if err := s.take(m); err != nil {
			s.cut(err)
			return
		}
	}
}

// write sends what is dirty, and a heartbeat at every beat.
func (s *stream) write() {
	ticker := time.NewTicker(s.hub.cfg.Heartbeat)
	defer ticker.Stop()
	stalled := time.AfterFunc(s.hub.cfg.Dead, func() { s.cut(errStalled) })
	defer stalled.Stop()
	send := func(m *weftv1.SyncResponse) bool {
		stalled.Reset(s.hub.cfg.Dead)
		defer stalled.Stop()
		if err := s.grpc.Send(m); err != nil {
			s.cut(err)
			return false
		}
		return true
	}
	for sequence := int64(1); ; {
		messages, revision, objects := s.hub.next(s)
		if len(messages) > 0 {
			s.sending(revision, objects) // before: the agent may be quick to acknowledge
		}
		for _, m := range messages {
			if !send(m) {
				return
			}
		}
		stalled.Stop()
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-ticker.C:
			if !send(beat(sequence)) {
				return
			}
			sequence++
		}
	}
}

// mark says that an object is to be sent again.
func (s *stream) mark(r ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.whole {
		s.dirty[r] = struct{}{}
	}
}

// kick wakes the writer.
func (s *stream) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// dirtied takes the marks away, sorted.
func (s *stream) dirtied() (whole bool, dirty []ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, s.whole = s.whole, false
	dirty = slices.SortedFunc(maps.Keys(s.dirty), ref.compare)
	clear(s.dirty)
	return whole, dirty
}

func (s *stream) sending(revision int64, objects bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sentRev = revision
	if objects {
		s.objectRev = revision
	}
	s.node.sent(revision)
}

func (s *stream) sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sentRev
}

func (s *stream) wants(o object) bool {
	return o.Audience.Has(s.name) && s.understands(o.Collection)
}

func (s *stream) understands(collection string) bool { return slices.Contains(s.knows, collection) }

// take brings one message in. An error ends the stream.
func (s *stream) take(m *weftv1.SyncRequest) error {
	s.node.heard()
	switch m := m.GetMessage().(type) {
	case *weftv1.SyncRequest_Ack:
		s.acknowledge(m.Ack)
	case *weftv1.SyncRequest_ObjectError:
		s.node.objectError(m.ObjectError)
		s.hub.observed.node(s.node)
	case *weftv1.SyncRequest_Problems:
		s.node.reported(m.Problems.GetProblems())
		s.hub.observed.node(s.node)
	case *weftv1.SyncRequest_Report:
		s.report(m.Report)
	case *weftv1.SyncRequest_Endpoints:
		s.endpoints(m.Endpoints)
	case *weftv1.SyncRequest_Hello:
		return status.Error(codes.InvalidArgument, "a stream has one hello")
	}
	return nil // a heartbeat, or something of a later release
}

// acknowledge notes what the node has applied. Only what followed objects is
// worth a write, and a stream's first: a marker's acknowledgement would make a
// revision of its own.
func (s *stream) acknowledge(a *weftv1.Ack) {
	s.mu.Lock()
	known := a.GetEpoch() == s.hub.cfg.Epoch && a.GetRevision() <= s.sentRev && a.GetRevision() > 0
	objects := s.objectRev
	s.mu.Unlock()
	if !known {
		return
	}
	before := s.node.applied(a.GetRevision())
	if before == 0 || before < objects && a.GetRevision() >= objects {
		s.hub.observed.node(s.node)
	}
	s.hub.progress.send()
}

// leave takes an ended stream off the hub.
func (h *Hub) leave(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[s.name] != s {
		return // a newer one is there, or the node was revoked
	}
	delete(h.streams, s.name)
	s.node.left()
	h.observed.node(s.node)
	h.progress.send()
	h.cfg.Log.Info("agent left", "node", s.name, "err", context.Cause(s.ctx))
}

// Cut ends a node's stream with a reason, and forgets the node: it was revoked
// or deleted. It answers whether there was a stream.
func (h *Hub) Cut(name, why string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[name]; n != nil {
		h.observed.forget(n)
		delete(h.nodes, name)
	}
	s, ok := h.streams[name]
	if ok {
		delete(h.streams, name)
		s.cut(status.Error(codes.PermissionDenied, why))
	}
	h.progress.send()
	return ok
}

// Problems lists the stored objects that cannot be compiled.
func (h *Hub) Problems() []compile.Problem {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Clone(h.problems)
}

func refuse(code codes.Code, format string, args ...any) error {
	return status.Error(code, fmt.Sprintf(format, args...))
}
