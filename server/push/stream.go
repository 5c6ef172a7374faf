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
	hub      *Hub
	grpc     grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]
	ctx      context.Context
	cut      context.CancelCauseFunc // the first cause is the reason
	hello    chan *weftv1.Hello
	opened   chan struct{} // closed when the agent is let in
	wake     chan struct{} // room for one
	number   uint64        // of all streams, in the order of their coming
	node     *node         // set before opened is closed, as what follows
	name     string
	speaker  speaker
	remote   string   // address and port
	version  uint32   // compile version of what is sent
	knows    []string // collections
	welcomed bool     // it is told who we are

	takesServers bool // it keeps the list of servers

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
	if s.welcomed && !send(welcome()) {
		return
	}
	var told *weftv1.SyncResponse
	for sequence := int64(1); ; {
		if l := s.hub.servers.Load(); l != told && s.takesServers {
			if told = l; !send(l) {
				return
			}
		}
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

func refuse(code codes.Code, format string, args ...any) error {
	return status.Error(code, fmt.Sprintf(format, args...))
}
