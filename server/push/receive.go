package push

import (
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// read takes what the agent says until the stream ends: enter lets it in, once it
// has said hello.
func (s *stream) read(enter func(*weftv1.Hello) error) {
	silent := time.AfterFunc(s.hub.cfg.Dead, func() { s.cut(errSilent) })
	defer silent.Stop()
	for first := true; ; first = false {
		silent.Reset(s.hub.cfg.Dead)
		m, err := s.wire.Recv()
		if err != nil {
			s.cut(err)
			return
		}
		silent.Stop() // our own work is not the agent's silence
		switch {
		case !first:
			err = s.take(m)
		case m.GetHello() == nil:
			err = status.Error(codes.InvalidArgument, "the first message of a stream must be a hello")
		default:
			err = enter(m.GetHello())
		}
		if err != nil {
			s.cut(err)
			return
		}
	}
}

// take brings one message in. An error ends the stream.
func (s *stream) take(m *weftv1.SyncRequest) error {
	if s.node.heard() {
		s.hub.tellProblems(s.node)
		s.hub.observed.node(s.node)
	}
	s.pulse.send()
	switch m := m.GetMessage().(type) {
	case *weftv1.SyncRequest_Ack:
		s.acknowledge(m.Ack)
	case *weftv1.SyncRequest_ObjectError:
		s.node.objectError(m.ObjectError)
		s.hub.observed.node(s.node)
	case *weftv1.SyncRequest_Problems:
		s.node.reported(m.Problems)
		s.hub.tellProblems(s.node)
		s.hub.observed.node(s.node)
	case *weftv1.SyncRequest_Report:
		s.hub.work.aside(func() { s.report(m.Report) })
	case *weftv1.SyncRequest_Answer:
		s.answered(m.Answer)
	case *weftv1.SyncRequest_Endpoints:
		s.hub.work.aside(func() { s.endpoints(m.Endpoints) })
	case *weftv1.SyncRequest_Pools:
		s.pools(m.Pools)
	case *weftv1.SyncRequest_Paths:
		s.paths(m.Paths)
	case *weftv1.SyncRequest_Resync:
		return s.resync()
	case *weftv1.SyncRequest_Claims:
		return s.claim(m.Claims)
	case *weftv1.SyncRequest_Trusts:
		s.trusts(m.Trusts.GetRoots())
		s.kick()
	case *weftv1.SyncRequest_Hello:
		return status.Error(codes.InvalidArgument, "a stream has one hello")
	}
	return nil // a heartbeat, or something of a later release
}

// resync has a full set sent to an agent that holds another than it should.
func (s *stream) resync() error {
	now := time.Now()
	if !s.resynced.IsZero() && now.Sub(s.resynced) < s.hub.cfg.Dead {
		return status.Error(codes.ResourceExhausted, "the agent asks for full sets again and again; is its disk, or its memory, sound?")
	}
	s.resynced = now
	s.hub.cfg.Log.Warn("agent's set differed", note.Node, s.name, note.Rev, s.due().sent)
	s.again()
	return nil
}

// acknowledge notes what the node has applied. An agent of protocol 1 acknowledges
// once what it holds when it comes, which can be before we have sent it: that
// counts as soon as we have.
func (s *stream) acknowledge(a *weftv1.Ack) {
	if a.GetEpoch() != s.hub.cfg.Epoch || a.GetRevision() <= 0 {
		return
	}
	s.mu.Lock()
	early := a.GetRevision() > s.dues.sent
	if early {
		s.early = a.GetRevision()
	}
	s.mu.Unlock()
	if !early {
		s.applied(a.GetRevision())
	}
}

// applied notes a revision that the node has applied. Only what followed objects
// is worth a write, and a stream's first: a marker's acknowledgement would make a
// revision of its own.
func (s *stream) applied(revision int64) {
	s.mu.Lock()
	objects := s.objectRev
	s.mu.Unlock()
	before := s.node.applied(revision)
	if before == 0 || before < objects && revision >= objects {
		s.hub.observed.beacon()
	}
	s.hub.progress.send()
}
