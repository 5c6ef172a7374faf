package egress

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/tunnel"
)

// Bounds of one process.
const (
	DefaultStreams = 16 << 10
	maxLookups     = 256 // names that are resolved at one time; others wait within their deadline
	maxTried       = 8   // addresses of one name
)

// Times of a dial: without a deadline of its opener's, and at most.
const (
	dialWithin = 10 * time.Second
	dialMost   = 30 * time.Second
)

// Resolver finds the addresses of a name: net.Resolver.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what an Egress works with.
type Config struct {
	Node string
	// Rules are those of the node now, with the bound of its file. An error says why
	// nothing can be judged yet.
	Rules    func() (egress.Rules, error)
	Resolver Resolver              // nil: the host's
	Own      func(netip.Addr) bool // whether an address is the host's own; nil: asks the kernel
	Streams  int                   // at one time, of all sessions; 0: DefaultStreams
	Log      *slog.Logger          // nil: none
}

// Egress dials for the sessions of one node. It is safe for concurrent use.
type Egress struct {
	cfg     Config
	slots   chan struct{} // a stream each
	lookups chan struct{}
	counts  counts
	said    hush
}

// New returns an Egress that serves nobody yet.
func New(cfg Config) *Egress {
	cfg.Streams = cmp.Or(cfg.Streams, DefaultStreams)
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Own == nil {
		cfg.Own = kernelsOwn
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Egress{cfg: cfg, slots: make(chan struct{}, cfg.Streams), lookups: make(chan struct{}, maxLookups)}
}

// session is one tunnel that is served.
type session struct {
	*Egress
	server string
	ctx    context.Context // ends with the tunnel
	going  sync.WaitGroup

	mu    sync.Mutex
	open  map[*net.TCPConn]struct{}
	ended bool
}

// Serve dials for the server at the other end until the tunnel ends, or ctx does;
// then it ends what is open and waits for it. It returns why the tunnel ended.
func (e *Egress) Serve(ctx context.Context, c *tunnel.Conn, server string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{Egress: e, server: server, ctx: ctx, open: map[*net.TCPConn]struct{}{}}
	for {
		r, err := c.Accept(ctx)
		if err != nil {
			cancel()
			s.cut()
			s.going.Wait()
			return fmt.Errorf("egress: tunnel to %s: %w", server, err)
		}
		select {
		case e.slots <- struct{}{}:
			s.going.Go(func() {
				defer func() { <-e.slots }()
				s.serve(r)
			})
		default:
			e.counts.dial(Overloaded, 0)
			_ = r.Refuse(tunnel.Overloaded, fmt.Sprintf("node %s has %d streams open, and opens no more", e.cfg.Node, e.cfg.Streams))
		}
	}
}

// serve is one stream, from its request to its end.
func (s *session) serve(r *tunnel.Request) {
	start := time.Now()
	req, err := egress.Decode(r.Target())
	if err != nil {
		s.refuse(r, egress.Request{}, refusal{result: Malformed, code: tunnel.Invalid, reason: err.Error()}, start)
		return
	}
	to, err := s.dial(r, req)
	if err != nil {
		s.refuse(r, req, asRefusal(err), start)
		return
	}
	defer to.Close()
	if !s.hold(to) {
		return
	}
	defer s.let(to)
	stream, err := r.Accept()
	if err != nil { // the opener did not wait
		s.counts.dial(Canceled, time.Since(start))
		return
	}
	s.counts.dial(Connected, time.Since(start))
	s.counts.opened()
	defer s.counts.closed()
	s.splice(stream, to)
}

// refuse says no, counts it and lets the log say so, but not for each of a flood.
func (s *session) refuse(r *tunnel.Request, req egress.Request, no refusal, start time.Time) {
	s.counts.dial(no.result, time.Since(start))
	if no.rule != "" {
		s.counts.denied(no.rule)
	}
	if more, say := s.said.may(string(no.result)+" "+no.rule, time.Now()); say {
		s.cfg.Log.Info("dial refused", note.Server, s.server, note.User, req.By.String(), note.Addr, req.Target().String(), note.Why, no.reason, note.Lost, more)
	}
	_ = r.Refuse(no.code, no.reason) // who does not wait does not hear it
}

// hold keeps a connection for cut, unless the session has ended.
func (s *session) hold(c *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.open[c] = struct{}{}
	}
	return !s.ended
}

func (s *session) let(c *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// cut resets all connections: those that wait for their target do not notice that
// the session is gone.
func (s *session) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for c := range s.open {
		reset(c)
	}
}
