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
	node       string   // that tries them
	configured []string // always among them

	mu      sync.Mutex
	learned []string // as a server told last
	servers []string
	held    map[string]time.Time
}

// newOrder spreads the first choices of nodes over all servers that are known.
func newOrder(node string, configured, learned []string) *order {
	o := &order{node: node, configured: configured, learned: learned, held: map[string]time.Time{}}
	if len(learned) == 0 {
		o.servers = slices.Clone(configured) // as the operator put them
		return o
	}
	o.servers = spread(node, o.all())
	return o
}

// all are the servers that are known.
func (o *order) all() []string {
	out := slices.Clone(o.learned)
	for _, s := range o.configured {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// known are the servers that are known, also those that ask for peace.
func (o *order) known() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all()
}

// learn takes the list of servers as one of them told it, and says whether it is
// news. The order of those that stay is kept.
func (o *order) learn(servers []string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.Equal(o.learned, servers) {
		return false
	}
	o.learned = slices.Clone(servers)
	all := o.all()
	next := slices.DeleteFunc(slices.Clone(o.servers), func(s string) bool { return !slices.Contains(all, s) })
	for _, s := range spread(o.node, all) {
		if !slices.Contains(next, s) {
			next = append(next, s)
		}
	}
	o.servers = next
	return true
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
