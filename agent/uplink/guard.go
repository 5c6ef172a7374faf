package uplink

import (
	"fmt"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Limits of the guard: a full set may take away this much without a second word.
const (
	guardPeers   = 3  // peers
	guardPercent = 30 // of the peers held
	guardWait    = 60 * time.Second
)

// guard doubts a full set that would take away much: a server started over an
// empty store says so in good faith, and a moment later knows better.
type guard struct {
	epoch    string
	revision int64
	since    time.Time // zero: nothing is doubted
	lost     int
	of       int
}

// admit tells whether next may replace held. It says yes at once to what takes
// away little, else to the second revision that says the same, or after
// guardWait; until then wait is how long that is.
func (g *guard) admit(now time.Time, held, next intent.Node) (ok bool, wait time.Duration) {
	lost := lostPeers(held, next)
	if lost <= guardPeers || lost*100 <= len(held.Peers)*guardPercent {
		*g = guard{}
		return true, 0
	}
	if g.since.IsZero() || g.epoch != next.Epoch {
		*g = guard{epoch: next.Epoch, revision: next.Revision, since: now}
	}
	g.lost, g.of = lost, len(held.Peers)
	if waited := now.Sub(g.since); next.Revision <= g.revision && waited < guardWait {
		return false, guardWait - waited
	}
	*g = guard{}
	return true, 0
}

// problem is what status says while a set is doubted.
func (g *guard) problem() intent.Problem {
	return intent.Problem{
		Subject: "intent",
		Cause:   fmt.Sprintf("the server's full set at revision %d takes away %d of %d peers; the old one stands until a second revision or %v", g.revision, g.lost, g.of, guardWait),
		Remedy:  "if this is not meant, stop the servers now and look at their store: weft get nodes",
	}
}

func lostPeers(held, next intent.Node) int {
	lost := 0
	for _, p := range held.Peers {
		if _, ok := next.Peer(p.Name); !ok {
			lost++
		}
	}
	return lost
}
