package push

import (
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/skew"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
)

const (
	skewSubject = "release" // of problems about an agent's
	// backoffSkew is how long an agent is sent away that we do not serve, seconds:
	// it is upgraded by hand, or another server is.
	backoffSkew = 30
)

// fits sends an agent away whose release is too far from ours, and lets its node's
// status say so.
func (s *stream) fits(hello *weftv1.Hello) error {
	ours, theirs := skew.Protocol(), hello.GetProtocol()
	n := s.hub.nodeOf(s.name)
	verdict := skew.Judge(ours, theirs)
	if verdict == skew.Served {
		n.note(skewSubject, nil, "")
		s.welcomed = theirs > 0 // others do not know the message
		return nil
	}
	cause, remedy := verdict.Explain(ours, note.Version, theirs, clip(hello.GetVersion(), maxText))
	if n.note(skewSubject, unserved(cause), remedy) {
		s.hub.cfg.Log.Warn("agent not served", note.Node, s.name, note.Conn, s.remote, note.Err, cause, note.Do, remedy)
	}
	s.hub.observed.node(n)
	return s.sendAway(backoffSkew, codes.FailedPrecondition, cause+"; "+remedy)
}

// unserved is why an agent is not served.
type unserved string

func (e unserved) Error() string { return string(e) }

func welcome(server string) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Welcome{Welcome: &weftv1.Welcome{
		Version: note.Version, Protocol: skew.Protocol(), Server: server,
	}}}
}
