package uplink

import (
	"slices"
	"sync"
	"time"
)

// order is the servers in the order in which to try them: the last one that
// worked stays first, one that failed goes to the end, one that asked for peace
// is left out until then. Safe for concurrent use.
type order struct {
	mu      sync.Mutex
	servers []string
	held    map[string]time.Time
}

func newOrder(servers []string) *order {
	return &order{servers: slices.Clone(servers), held: map[string]time.Time{}}
}

// list returns the servers to try now; none while all ask for peace.
func (o *order) list(now time.Time) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(o.servers), func(s string) bool { return o.held[s].After(now) })
}

func (o *order) failed(server string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := slices.Index(o.servers, server); i >= 0 {
		o.servers = append(slices.Delete(o.servers, i, i+1), server)
	}
}

func (o *order) hold(server string, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held[server] = until
}

// wait is how long until some server may be tried.
func (o *order) wait(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := time.Duration(-1)
	for _, s := range o.servers {
		if d := max(0, o.held[s].Sub(now)); first < 0 || d < first {
			first = d
		}
	}
	return max(first, 0)
}
