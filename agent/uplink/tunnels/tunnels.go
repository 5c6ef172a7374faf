package tunnels

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Conn is a tunnel that stands.
type Conn interface {
	Drain()                      // tells the other end to open no more streams
	Draining() <-chan struct{}   // closed when the other end takes no more
	Quiet(context.Context) error // waits until no stream is open
	Close() error
	Done() <-chan struct{}
	Err() error // why it ended; nil as long as it stands
	RTT() time.Duration
	Streams() int // open now
}

// Path is a connection to a server on which nothing was said yet.
type Path struct {
	Server string // HOST:PORT
	Conn   net.Conn
	Peer   string     // who is there: the same for one server by all its addresses, another for each other
	Proxy  string     // through which; empty: directly
	Local  netip.Addr // our end; zero if it is not known
	Until  time.Time  // when the certificate that was shown ends; zero: never
}

// Config is what a keeper needs.
type Config struct {
	Servers func() []string // HOST:PORT of those that are known now
	// Reach connects to a server. It must end soon after its context.
	Reach func(ctx context.Context, server string) (Path, error)
	// Open makes a tunnel of a path, and closes the path if that fails. An answer
	// other than yes is a *connect.Refusal.
	Open func(context.Context, Path) (Conn, error)
	// Serve serves a tunnel until it ends. The context outlives Run's while the tunnel
	// drains.
	Serve    func(ctx context.Context, c Conn, server string)
	Reason   func(error) string // why a tunnel ended, in a word for counters; nil: lost
	OnChange func()             // called when List has changed; must not block
	Log      *slog.Logger
}

// Tunnels are those of one agent. Its methods are safe for concurrent use.
type Tunnels struct {
	cfg   Config
	wake  chan struct{} // room for one: the servers may be others
	going sync.WaitGroup

	mu      sync.Mutex // guards all below, and what keepers show
	gen     uint64     // of the identity
	keepers map[string]*keeper
	peers   map[string]*keeper // by who is there
	counts  Counts
}

// Counts are since the start.
type Counts struct {
	Opened uint64
	Failed uint64            // tries
	Ended  map[string]uint64 // by reason
}

// New makes tunnels that Run keeps.
func New(cfg Config) *Tunnels {
	if cfg.Reason == nil {
		cfg.Reason = func(error) string { return "lost" }
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func() {}
	}
	return &Tunnels{
		cfg: cfg, wake: make(chan struct{}, 1), keepers: map[string]*keeper{}, peers: map[string]*keeper{},
		counts: Counts{Ended: map[string]uint64{}},
	}
}

// Run keeps them until ctx ends.
func (t *Tunnels) Run(ctx context.Context) error {
	stop := map[string]context.CancelFunc{}
	for ctx.Err() == nil {
		servers := t.cfg.Servers()
		for server, end := range stop {
			if !slices.Contains(servers, server) {
				end()
				delete(stop, server)
			}
		}
		for _, server := range servers {
			if stop[server] == nil {
				stop[server] = t.keep(ctx, server)
			}
		}
		select {
		case <-ctx.Done():
		case <-t.wake:
		}
	}
	for _, end := range stop {
		end()
	}
	t.going.Wait()
	return nil
}

// keep starts a keeper.
func (t *Tunnels) keep(ctx context.Context, server string) (end context.CancelFunc) {
	k := &keeper{t: t, server: server, wake: make(chan struct{}, 1), life: ctx}
	k.note(Tunnel{Server: server, State: Opening, Since: time.Now()})
	t.mu.Lock()
	t.keepers[server] = k
	t.mu.Unlock()
	ctx, end = context.WithCancel(ctx)
	t.going.Go(func() {
		k.run(ctx)
		t.mu.Lock()
		if t.keepers[server] == k {
			delete(t.keepers, server)
		}
		t.mu.Unlock()
		t.cfg.OnChange()
	})
	return end
}

// Kick says that the servers may be others.
func (t *Tunnels) Kick() { signal(t.wake) }

// Alive says that a server answers.
func (t *Tunnels) Alive(server string) {
	t.poke(func(k *keeper) bool {
		if k.server != server || k.shown.State == Up || k.shown.State == Same {
			return false
		}
		k.now = true
		return true
	})
}

// Renewed says that the node has another certificate, or other roots.
func (t *Tunnels) Renewed() {
	t.mu.Lock()
	t.gen++
	t.mu.Unlock()
	t.poke(func(*keeper) bool { return true })
}

// Moved tells which addresses the host has. A tunnel from one that is gone hears
// nothing any more.
func (t *Tunnels) Moved(has func(netip.Addr) bool) {
	t.poke(func(k *keeper) bool {
		k.cut = k.cut || k.local.IsValid() && !has(k.local)
		return k.cut
	})
}

// poke wakes the keepers that f says.
func (t *Tunnels) poke(f func(*keeper) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.keepers {
		if f(k) {
			signal(k.wake)
		}
	}
}

// List is how all tunnels are, by server.
func (t *Tunnels) List() []Tunnel {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Tunnel
	for _, k := range t.keepers {
		s := k.shown
		if k.conn != nil {
			s.RTT, s.Streams = k.conn.RTT(), k.conn.Streams()
		}
		for _, old := range k.old {
			s.Draining += old.conn.Streams()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Tunnel) int { return strings.Compare(a.Server, b.Server) })
	return out
}

// Counts are since the start.
func (t *Tunnels) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.counts
	out.Ended = map[string]uint64{}
	for k, n := range t.counts.Ended {
		out.Ended[k] = n
	}
	return out
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
