package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// joining is for how long nothing is said of the path to a peer that has just come: its
// keys and addresses are told one after the other, and a machine may be slow.
const joining = 15 * time.Second

// joins knows since when there is each peer. The zero value knows none.
type joins struct {
	mu       sync.Mutex
	revision int64 // of the intent that was looked at last
	since    map[string]time.Time
	young    time.Time // when the next peer is not new any more of which something is held back; zero: never
}

// told are those of the problems of paths that are to be said now.
func (j *joins) told(ps []intent.Problem, n intent.Node, now time.Time) []intent.Problem {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.young = time.Time{}
	if !n.Cluster.Meshed() {
		j.since = nil
		return ps
	}
	j.know(n, now)
	return slices.DeleteFunc(slices.Clone(ps), func(p intent.Problem) bool {
		end := j.since[p.Subject].Add(joining)
		if !now.Before(end) {
			return false
		}
		if j.young.IsZero() || end.Before(j.young) {
			j.young = end
		}
		return true
	})
}

// know notes peers that have come, by the subject of what is said of them, and forgets
// those that are gone.
func (j *joins) know(n intent.Node, now time.Time) {
	if j.since != nil && j.revision == n.Revision {
		return
	}
	since := make(map[string]time.Time, len(n.Peers))
	for i := range n.Peers {
		key := intent.PeerKey(n.Peers[i].Name)
		since[key] = now
		if at, known := j.since[key]; known {
			since[key] = at
		}
	}
	j.since, j.revision = since, n.Revision
}

// ripe fires when something that was held back is to be said; nil: nothing was.
func (j *joins) ripe(now time.Time) <-chan time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.young.IsZero() {
		return nil
	}
	return time.After(j.young.Sub(now))
}
