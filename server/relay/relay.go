package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/proto/note"
	wire "github.com/weft-net/weft/proto/relay"
	"github.com/weft-net/weft/server/turn"
	"github.com/weft-net/weft/tunnel"
)

// Path is where agents connect to.
const Path = wire.Path

// DefaultRate is what a pair may send in each direction, in bytes a second: 2 Gbit/s.
const DefaultRate = 250_000_000

// Bounds on connections.
const (
	maxSessions = 12_000           // of agents: a process has 20,000 files
	answerIn    = 2 * time.Second  // for who holds a name, before another gets it
	rivalWait   = 10 * time.Second // after which an agent may try again whose name another one holds
	queueBytes  = 1 << 20          // that wait for one node
)

// Config is what a Relay works with.
type Config struct {
	Server string // name of this one
	// Rate is what one node may send to one other, in bytes a second; 0 means DefaultRate,
	// less than 0 that there is no bound.
	Rate int64
	// Hold says which node shows its certificate on a request, and how long that counts:
	// held ends with it. Errors are gRPC statuses.
	Hold func(ctx context.Context, r *http.Request) (node string, held context.Context, release func(), err error)
	Log  *slog.Logger
}

// Relay is where agents' connections meet. It is safe for concurrent use.
type Relay struct {
	cfg    Config
	born   time.Time
	coming turn.Line
	budget *tunnel.Budget
	stats  counters
	life   context.Context
	end    context.CancelCauseFunc

	mu      sync.RWMutex
	held    map[string]*session // by node
	all     map[*session]struct{}
	stopped bool
	serving sync.WaitGroup
}

// New returns a Relay to which nobody is connected.
func New(c Config) *Relay {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rate == 0 {
		c.Rate = DefaultRate
	}
	r := &Relay{cfg: c, born: time.Now(), budget: tunnel.NewBudget(0), held: map[string]*session{}, all: map[*session]struct{}{}}
	r.life, r.end = context.WithCancelCause(context.Background())
	return r
}

// Why a connection ended.
var (
	errSilent   = errors.New("relay: another process of the agent came, and this one did not answer")
	errStopping = errors.New("relay: the server stops")
	errRival    = errors.New("relay: another process of the agent came at the same time")
)

// Run carries until ctx ends. Then all connections are closed, which sends agents to
// other servers at once.
func (r *Relay) Run(ctx context.Context) error {
	<-ctx.Done()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.end(errStopping)
	r.serving.Wait()
	return nil
}

// enter has a connection used, instead of the one before of the same process.
func (r *Relay) enter(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.held[s.node]
	switch {
	case r.stopped:
		return errStopping
	case old != nil && old.instance != s.instance && !old.gone():
		return errRival // it was not there when this one was let in
	case len(r.all) >= maxSessions:
		return fmt.Errorf("relay: this server holds %d connections; at most %d are accepted", len(r.all), maxSessions)
	}
	if old != nil && !old.gone() {
		old.conn.Drain() // the agent closes it; what it still sends is carried
	}
	r.held[s.node], r.all[s] = s, struct{}{}
	r.serving.Go(s.serve)
	return nil
}

// leave takes a connection out that has ended.
func (r *Relay) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
	if r.held[s.node] == s {
		delete(r.held, s.node)
	}
	r.stats.queue.Add(s.conn.Stats().DatagramsDropped)
}

// find returns the connection of a node; nil: it has none here.
func (r *Relay) find(node []byte) *session {
	r.mu.RLock()
	s := r.held[string(node)]
	r.mu.RUnlock()
	return s
}

// challenge lets a process claim a node's name: nobody has it, or the same process, or
// one that does not answer any more.
func (r *Relay) challenge(ctx context.Context, node, instance string) error {
	holder := r.find([]byte(node))
	if holder == nil || holder.instance == instance {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	if !holder.answers(ctx) {
		holder.close(errSilent)
		return nil
	}
	return fmt.Errorf("another agent is node %s: it holds the name from %s, and answers; if that is a clone, give this one a name of its own: weft-agent --node-name NAME; if this one took its place, stop that one", node, holder.from)
}

// clock is the time since the Relay began.
func (r *Relay) clock() time.Duration { return time.Since(r.born) }

// counters count since the start.
type counters struct {
	bytes                       atomic.Uint64 // carried
	absent, rate, queue, broken atomic.Uint64 // frames that were not
}

// tell writes down what became of a connection.
func (r *Relay) tell(what string, s *session, err error) {
	r.cfg.Log.Debug(what, note.Node, s.node, note.Conn, s.from, note.Err, err)
}
