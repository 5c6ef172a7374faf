package uplink

import (
	"math/rand/v2"
	"time"

	"github.com/weft-net/weft/proto/skew"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// skewWait is the pause before a server is tried again that is too far from our
// release: somebody has to upgrade it.
const skewWait = 30 * time.Second

// judge ends the stream with a server that is too old to serve us: it would not
// know it itself. One that does not say who it is has no protocol.
func (s *session) judge(w *weftv1.Welcome) error {
	s.judged = true
	s.u.named(w.GetServer())
	release := w.GetVersion()
	if w == nil {
		release = "before protocols"
	}
	cause, remedy := skew.Judge(w.GetProtocol(), skew.Protocol()).Explain(w.GetProtocol(), release, skew.Protocol(), s.u.cfg.Version)
	if cause == "" {
		return nil
	}
	return backoffError{skewWait + rand.N(skewWait/4), cause + "; " + remedy}
}
