package egress

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/turn"
)

// Bounds on dials.
const (
	dialWithin   = 30 * time.Second // from asking to bytes: as long as a kube-apiserver waits
	maxOpen      = 4_096            // connections, unless Config says another number; past that, Overloaded
	maxAddresses = 8                // of a name that are tried
	drainWithin  = 3 * time.Second  // for streams to end, when the server stops
)

// Mirror is the store's intent: store.Cache.
type Mirror interface {
	Subscribe(fn func(store.Batch)) (entries []store.Entry, revision int64, cancel func())
}

// Others are the other servers of the fabric.
type Others interface {
	// Names lists those that live.
	Names() []string
	// Held asks one for its tunnels: of a node, or of all.
	Held(ctx context.Context, server, node string) ([]*weftv1.Tunnel, error)
	// Dial connects to one's port, over TLS, as this server.
	Dial(ctx context.Context, server string) (Conn, error)
}

// Config is what a Gate works with.
type Config struct {
	Server string // name of this one
	Mirror Mirror
	Store  store.Store // observations of endpoints are followed here, in mode cluster
	Others Others      // nil: there are none
	// Hold says which node shows its certificate on a request, and how long that counts:
	// held ends with it. Errors are gRPC statuses.
	Hold func(ctx context.Context, r *http.Request) (node string, held context.Context, release func(), err error)
	// Upgrade makes a request a tunnel. It has answered the request if it fails.
	Upgrade func(w http.ResponseWriter, r *http.Request) (Link, error)
	// Dial and Resolve are those of this machine; nil: net.Dialer, net.Resolver.
	Dial    func(ctx context.Context, at netip.AddrPort) (Conn, error)
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	// Own says that an address is this machine's; nil: as its kernel says.
	Own func(netip.Addr) bool
	// MaxOpen bounds the connections that are open or about to be, of one asker three
	// quarters of it. 0: 4,096.
	MaxOpen int
	// Denied is told of each dial that a rule refused, for the audit; may be nil.
	Denied func(by Asker, to Request, node string, r *Refusal)
	Log    *slog.Logger
}

// Gate is where dials go in, and agents' tunnels end. It is safe for concurrent use.
type Gate struct {
	Config
	atlas    *atlas
	sessions *sessions
	traces   traces
	counters *counters
	found    found
	coming   turn.Line
	places   *places
	life     context.Context
	end      context.CancelCauseFunc
	serving  sync.WaitGroup // tunnels

	mu      sync.Mutex
	open    map[*counted]struct{} // connections that were given out
	stopped bool                  // no tunnel is let in any more
	last    chan struct{}         // closed when none of open is left; nil: nobody waits
}

// New returns a Gate that knows nothing yet.
func New(c Config) *Gate {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = dialTCP
	}
	if c.Resolve == nil {
		c.Resolve = resolve
	}
	if c.Own == nil {
		c.Own = own
	}
	if c.MaxOpen <= 0 {
		c.MaxOpen = maxOpen
	}
	if c.Denied == nil {
		c.Denied = func(Asker, Request, string, *Refusal) {}
	}
	if c.Others == nil {
		c.Others = alone{}
	}
	g := &Gate{
		Config: c, atlas: newAtlas(), sessions: newSessions(), counters: newCounters(),
		places: newPlaces(c.Server, c.MaxOpen), open: map[*counted]struct{}{},
	}
	g.life, g.end = context.WithCancelCause(context.Background())
	return g
}

// alone are the other servers where there are none.
type alone struct{}

func (alone) Names() []string { return nil }

func (alone) Held(context.Context, string, string) ([]*weftv1.Tunnel, error) { return nil, nil }

func (alone) Dial(context.Context, string) (Conn, error) {
	return nil, refuse(NoTunnel, "there is no other server")
}

// Run follows the store until ctx ends. Then agents are told to go elsewhere, and
// what goes through their tunnels gets a moment to end. It returns when all tunnels
// and connections have.
func (g *Gate) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	entries, _, cancel := g.Mirror.Subscribe(func(b store.Batch) { g.take(b.Events, changed) })
	defer cancel()
	events := make([]store.Event, 0, len(entries))
	for _, e := range entries {
		events = append(events, store.Event{Entry: e})
	}
	g.take(events, changed)
	g.followEndpoints(ctx, changed)
	g.stop()
	return nil
}

func (g *Gate) take(events []store.Event, changed chan<- struct{}) {
	g.atlas.take(events)
	for _, e := range events {
		if of, _, name, _ := kind.ParseKey(e.Key); of == kind.Node && e.Value == nil {
			g.sessions.forget(name)
		}
	}
	select {
	case changed <- struct{}{}:
	default:
	}
}

// stop drains, then ends everything.
func (g *Gate) stop() {
	for _, s := range g.sessions.list() {
		s.link.Drain()
	}
	wait := time.NewTimer(drainWithin)
	defer wait.Stop()
	select {
	case <-g.quiet():
	case <-wait.C:
	}
	g.end(errStopping)
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.cut()
	for _, s := range g.sessions.list() {
		s.link.End(errStopping)
	}
	g.serving.Wait()
}

// quiet answers with what is closed when no connection is open any more.
func (g *Gate) quiet() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := make(chan struct{})
	g.last = last
	g.gone()
	return last
}

// gone tells who waits for it that no connection is open. g.mu is held.
func (g *Gate) gone() {
	if len(g.open) == 0 && g.last != nil {
		close(g.last)
		g.last = nil
	}
}

// cut closes all connections that were given out.
func (g *Gate) cut() {
	g.mu.Lock()
	var all []*counted
	for c := range g.open {
		all = append(all, c)
	}
	g.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

// dialling is how many dials are going on.
func (g *Gate) dialling() int {
	taken := g.places.count()
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(taken-len(g.open), 0)
}

// give counts a connection that goes out.
func (g *Gate) give(c Conn, d *trace, release func()) Conn {
	out := &counted{Conn: c, trace: d}
	out.end = func() {
		release()
		g.mu.Lock()
		delete(g.open, out)
		g.gone()
		g.mu.Unlock()
	}
	g.mu.Lock()
	g.open[out] = struct{}{}
	g.mu.Unlock()
	if g.life.Err() != nil { // stop may not have seen it
		_ = out.Close()
	}
	return out
}

// own tells whether an address is one of this machine's. If that cannot be told, it
// is judged as if it were.
func own(addr netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(all, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == addr
	})
}

func dialTCP(ctx context.Context, at netip.AddrPort) (Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}
