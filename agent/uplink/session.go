package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/skew"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"golang.org/x/sync/errgroup"
)

// Times of a stream, and the bound on one message.
const (
	heartbeat  = 3 * time.Second
	deadAfter  = 8 * time.Second
	helloWait  = 10 * time.Second     // for the first answer: the server may have to find a lease first
	maxMessage = 2 * intent.MaxObject // one object with its names
	window     = 1 << 20              // bytes in flight to us
	maxBackoff = 5 * time.Minute      // that a server can ask for
)

var (
	errDead    = errors.New("nothing heard for 8 s")
	errMoved   = errors.New("the node's address that this stream came from is gone")
	errRenewed = errors.New("the node has a newer certificate than this stream's")
)

// ours tells whether a stream ended by this node's will, so that it says nothing of
// the server.
func ours(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, errMoved) || errors.Is(err, errRenewed)
}

// backoffError says that the server asked to be left alone for a while.
type backoffError struct {
	wait   time.Duration
	reason string
}

func (e backoffError) Error() string {
	return fmt.Sprintf("the server asks to come back in %v: %s", e.wait, e.reason)
}

// protocolError says that what the server sent makes no sense on top of what we
// hold: the next stream asks for a full set.
type protocolError struct{ err error }

func (e protocolError) Error() string { return "server broke the protocol: " + e.err.Error() }
func (e protocolError) Unwrap() error { return e.err }

// session is one stream.
type session struct {
	u      *Uplink
	link   link
	stream wire
	sent   sent
	beat   int64
	told   atomic.Bool          // a Complete of this stream was taken
	judged bool                 // the server's release; the receiver's own
	base   *held                // what the hello says that is held; nil: nothing
	lost   chan struct{}        // room for one: a full set is to be asked for
	claims chan []intent.Object // room for one: peers to claim, of another epoch

	mu      sync.Mutex // stage: the receiver and the guard's timer
	stage   *stage
	asked   bool // for a full set
	deaf    bool // to digests
	claimed bool // what the server's set misses
	doubted *weftv1.Complete
	confirm *time.Timer

	questions questions
	work      sync.WaitGroup // that answers them
}

func newSession(u *Uplink, l link) *session {
	s := &session{
		u: u, link: l, base: u.base(), lost: make(chan struct{}, 1), claims: make(chan []intent.Object, 1), questions: newQuestions(),
	}
	var set *intent.Set
	if s.base != nil {
		set = s.base.set
	}
	s.stage = newStage(set, u.cfg.Read)
	return s
}

// run speaks Sync until the stream ends, and says why it did.
func (s *session) run(ctx context.Context, open func(context.Context) (wire, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g, gctx := errgroup.WithContext(ctx)
	stream, err := open(gctx)
	if err != nil {
		return fmt.Errorf("uplink: open the stream: %w", err)
	}
	s.stream = stream
	defer s.stop()
	defer s.u.bind(s.link.local, cancel)()
	g.Go(func() error { return s.send(gctx, cancel) })
	g.Go(func() error { return s.receive(gctx, cancel) })
	err = g.Wait()
	s.work.Wait() // their context has ended
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (s *session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undoubt()
}

// send says hello, then what changed, and a heartbeat in each pause.
func (s *session) send(ctx context.Context, cancel context.CancelCauseFunc) error {
	hello, err := s.hello(ctx)
	if err != nil {
		return err
	}
	// A message that the server does not take within deadAfter ends the stream.
	stuck := time.AfterFunc(deadAfter, func() { cancel(errDead) })
	defer stuck.Stop()
	put := func(m *weftv1.SyncRequest) error {
		stuck.Reset(deadAfter)
		defer stuck.Stop()
		if err := s.stream.Send(m); err != nil && !errors.Is(err, io.EOF) { // on EOF, receive has the reason
			return fmt.Errorf("uplink: send: %w", err)
		}
		return nil
	}
	if err := put(hello); err != nil {
		return err
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		s.sent.told = s.told.Load()
		for _, m := range s.u.out.next(&s.sent) {
			if err := put(m); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.u.out.wake:
		case a := <-s.questions.out:
			if err := put(a); err != nil {
				return err
			}
		case peers := <-s.claims:
			for _, m := range claimMessages(s.u.held.Load(), peers) {
				if err := put(m); err != nil {
					return err
				}
			}
		case <-s.lost:
			if err := put(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Resync{Resync: &weftv1.Resync{Reason: "digest"}}}); err != nil {
				return err
			}
		case <-beat.C:
			s.beat++
			if err := put(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{Heartbeat: &weftv1.Heartbeat{Sequence: s.beat}}}); err != nil {
				return err
			}
		}
	}
}

// hello waits for the first report: a lease is given only to a node whose
// addresses are known.
func (s *session) hello(ctx context.Context) (*weftv1.SyncRequest, error) {
	report, ok := s.u.out.hello(&s.sent)
	for ; !ok; report, ok = s.u.out.hello(&s.sent) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.u.out.wake:
		}
	}
	h := &weftv1.Hello{
		Protocol: skew.Protocol(), Node: s.u.cfg.Node, Machine: s.u.cfg.Machine, Boot: s.u.cfg.Boot, Version: s.u.cfg.Version, Instance: s.u.instance,
		TakesServers: true,
		Collections: []*weftv1.CollectionVersion{
			{Collection: intent.CollectionCluster, Schema: intent.SchemaCluster},
			{Collection: intent.CollectionPeers, Schema: intent.SchemaPeers},
			{Collection: intent.CollectionPause, Schema: intent.SchemaPause},
			{Collection: intent.CollectionEgress, Schema: intent.SchemaEgress},
		},
		Report: report, Batches: true, Claims: true, Questions: SchemaQuestions, Stream: s.u.streams.Add(1),
	}
	h.Roots, h.ProblemsFollow = s.sent.roots, s.sent.owed
	if s.base != nil {
		h.Epoch, h.CompileVersion, h.Revision, h.Digest = s.base.epoch, s.base.compile, s.base.revision, s.base.set.Digest()
	}
	return &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: h}}, nil
}

// receive takes what comes until the stream ends or falls silent.
func (s *session) receive(ctx context.Context, cancel context.CancelCauseFunc) error {
	dead := time.AfterFunc(helloWait, func() { cancel(errDead) })
	defer dead.Stop()
	for {
		m, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("uplink: the server ended the stream")
		}
		if err != nil {
			return fmt.Errorf("uplink: receive: %w", err)
		}
		dead.Reset(deadAfter)
		s.u.heardFrom(s.link)
		if q := m.GetQuestion(); q != nil {
			s.question(ctx, q)
			continue
		}
		if err := s.take(m); err != nil {
			return err
		}
	}
}

func (s *session) take(m *weftv1.SyncResponse) error {
	if b := m.GetBackoff(); b != nil {
		wait := min(time.Duration(b.GetSeconds())*time.Second, maxBackoff)
		return backoffError{wait + rand.N(wait/4+1), b.GetReason()}
	}
	if b := m.GetHeartbeat(); b != nil {
		s.u.tells(b.GetUnixMilli())
		return nil
	}
	if l := m.GetServers(); l != nil {
		s.u.learn(l.GetAddresses())
		return nil
	}
	if w := m.GetWelcome(); w != nil || !s.judged {
		if err := s.judge(w); err != nil || w != nil {
			return err
		}
	}
	if e := m.GetEcho(); e != nil {
		s.u.offer(e, s.link)
		return nil
	}
	if m.GetAskClaims() != nil {
		s.carry()
		return nil
	}
	if t := m.GetTrust(); t != nil {
		s.u.trust(t, s.link.shown)
		return nil
	}
	if b := m.GetBatch(); b != nil {
		for _, m := range b.GetMessages() {
			if err := s.build(m); err != nil {
				return err
			}
		}
		return nil
	}
	return s.build(m)
}

// build takes one message of a set.
func (s *session) build(m *weftv1.SyncResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undoubt() // what is staged is no more what was doubted; the next Complete asks again
	if err := s.stage.apply(m); err != nil {
		return protocolError{err}
	}
	if c := m.GetComplete(); c != nil {
		return s.complete(c)
	}
	return nil
}

func (s *session) undoubt() {
	if s.doubted != nil {
		s.confirm.Stop()
		s.doubted = nil
	}
}

// complete makes what is staged the intent, unless the guard doubts it.
func (s *session) complete(c *weftv1.Complete) error {
	if err := s.sane(c); err != nil {
		return protocolError{err}
	}
	if !s.agrees(c) || s.claim(c) {
		return nil
	}
	s.adopt(c)
	return nil
}

// adopt makes what is staged the intent, at once or when it has stood for long
// enough. s.mu is held.
func (s *session) adopt(c *weftv1.Complete) {
	s.doubted = nil
	if wait := s.u.adopt(s.stage, c); wait > 0 {
		s.doubted = c
		s.confirm = time.AfterFunc(wait, s.stands)
		return
	}
	if !s.told.Swap(true) {
		wake(s.u.out.wake) // what stood before may be acknowledged now
	}
}

// agrees tells whether what is staged is what the server says that it should be.
// If not, all of it is asked for, and what is held stands until that came. A full
// set is taken as it is, and the server's word on this stream no more: asking
// again would give the same.
func (s *session) agrees(c *weftv1.Complete) bool {
	switch {
	case c.GetDigest() == 0 || s.deaf || s.stage.complete().Digest() == c.GetDigest():
		s.asked = false
		return true
	case s.stage.whole:
		s.deaf = true
		s.u.cfg.Log.Error("full set differed from the server's word", note.Conn, s.link.server, note.Rev, c.GetRevision())
		return true
	case !s.asked:
		s.asked = true
		s.u.cfg.Log.Warn("set differed from the server's", note.Conn, s.link.server, note.Rev, c.GetRevision())
		wake(s.lost)
	}
	return false
}

// stands runs when a doubted set has stood long enough.
func (s *session) stands() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubted != nil {
		s.adopt(s.doubted)
	}
}

// sane refuses a revision that differences to what we hold cannot lead to.
func (s *session) sane(c *weftv1.Complete) error {
	if c.GetEpoch() == "" || c.GetRevision() < 0 || len(c.GetEpoch()) > maxCollection {
		return fmt.Errorf("complete with epoch %.64q and revision %d", c.GetEpoch(), c.GetRevision())
	}
	held := s.u.held.Load()
	if s.stage.whole {
		return nil
	}
	if held == nil {
		return errors.New("complete without a full set, and nothing is held")
	}
	if held.epoch != c.GetEpoch() || held.compile != c.GetCompileVersion() || held.revision > c.GetRevision() {
		return fmt.Errorf("complete of epoch %.64q compile %d revision %d without a full set, on top of %q, %d, %d",
			c.GetEpoch(), c.GetCompileVersion(), c.GetRevision(), held.epoch, held.compile, held.revision)
	}
	return nil
}
