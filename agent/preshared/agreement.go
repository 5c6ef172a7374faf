package preshared

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// Config joins the room to the others. Functions are called from Run's goroutines.
type Config struct {
	Log    *slog.Logger
	Store  Store
	Intent func() (intent.Node, bool)
	Slots  func() []intent.Slot                                  // the node's own devices
	Shared func(own, peer intent.Key) ([32]byte, error)          // disco.Shared of an own key
	Facts  func() (map[string][intent.Slots]Fact, bool)          // false: not known yet
	Alter  func()                                                // States has changed
	Listen func(ctx context.Context, at netip.Addr) (Net, error) // nil: the kernel's sockets
}

// Agreement is the room. Its methods are safe for concurrent use.
type Agreement struct {
	cfg    Config
	kicks  chan struct{} // room for one
	came   chan datagram
	gate   gate
	states atomic.Pointer[map[string][intent.Slots]State]

	mu   sync.Mutex // what follows
	m    *Machine
	n    intent.Node
	deaf error // why the port is not open; nil: it is, or is not to be
}

// New makes the room, which says at once what is known from the disk. Nothing is sent
// before Run.
func New(self string, c Config) *Agreement {
	if c.Listen == nil {
		c.Listen = listen
	}
	a := &Agreement{cfg: c, kicks: make(chan struct{}, 1), came: make(chan datagram, maxWaiting), m: NewMachine(self, c.Store)}
	a.states.Store(&map[string][intent.Slots]State{})
	a.look()
	return a
}

// Kick says that what Config's functions answer has changed.
func (a *Agreement) Kick() {
	select {
	case a.kicks <- struct{}{}:
	default:
	}
}

// States are how the tunnels of all pairs may be there. The map is not changed any more.
func (a *Agreement) States() map[string][intent.Slots]State { return *a.states.Load() }

// Deaf is why nobody is heard at the port; nil: somebody may be, or no keys are wanted.
func (a *Agreement) Deaf() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.deaf
}

// Run works until ctx ends.
func (a *Agreement) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := a.serve(ctx); !errors.Is(err, errMoved) {
			return err
		}
	}
	return nil
}

// errMoved ends what listens: the node's fabric addresses are others, keys are wanted or
// not any more, or the port is to be tried again.
var errMoved = errors.New("preshared: to listen elsewhere")

// relisten is how long a port rests that another process has.
const relisten = 5 * time.Second

// serve works at some addresses until it is to listen at others.
func (a *Agreement) serve(ctx context.Context) error {
	at := a.look()
	g, ctx := errgroup.WithContext(ctx)
	nets, why := a.open(ctx, at)
	for _, n := range nets {
		g.Go(func() error { return a.receive(n) })
	}
	if why != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, relisten, errMoved)
		defer cancel()
	}
	g.Go(func() error {
		defer func() {
			for _, n := range nets {
				n.Close()
			}
		}()
		return a.loop(ctx, at, nets)
	})
	return g.Wait()
}

// open opens the port, and tells once if it cannot.
func (a *Agreement) open(ctx context.Context, at []netip.Addr) (nets map[bool]Net, why error) {
	nets = map[bool]Net{}
	for _, addr := range at {
		conn, err := a.cfg.Listen(ctx, addr)
		if err != nil {
			why = errors.Join(why, err)
			continue
		}
		nets[addr.Is4()] = conn
	}
	a.mu.Lock()
	was := a.deaf
	a.deaf = why
	a.mu.Unlock()
	if why != nil && (was == nil || was.Error() != why.Error()) {
		a.cfg.Log.Warn("pre-shared keys not agreed on", note.Err, why, note.Retry, relisten, note.Do, "ss -lunp 'sport = :7448'")
	}
	return nets, why
}

// looks is how often facts are looked at without a kick, while there are keys or are to
// be.
const looks = 500 * time.Millisecond

// loop does what is due.
func (a *Agreement) loop(ctx context.Context, at []netip.Addr, nets map[bool]Net) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errMoved) {
				return errMoved
			}
			return nil
		case d := <-a.came:
			a.hearAll(d)
		case <-a.kicks:
		case <-timer.C:
		}
		if !slices.Equal(a.look(), at) {
			return errMoved
		}
		if next := a.step(nets); next > 0 {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
	}
}

// look takes what is known now, and answers where to listen: nowhere unless keys are
// wanted.
func (a *Agreement) look() []netip.Addr {
	n, ok := a.cfg.Intent()
	if !ok {
		return nil
	}
	facts, known := a.cfg.Facts()
	a.mu.Lock()
	a.n = n
	a.m.Set(n.Cluster.PostQuantum, peersOf(n, a.cfg.Slots(), facts, known))
	a.mu.Unlock()
	a.tell()
	if !n.Cluster.PostQuantum {
		return nil
	}
	a.gate.know(n)
	self, _ := n.Self()
	return self.Fabric()
}

// step does what is due, and answers when to come again; 0: when it is kicked.
func (a *Agreement) step(nets map[bool]Net) time.Duration {
	now := time.Now()
	a.mu.Lock()
	sends, next, errs := a.m.Step(now)
	idle := a.m.Idle()
	for _, s := range sends {
		if err := a.send(nets, s); err != nil {
			a.cfg.Log.Debug("message not sent", note.Node, s.Peer, note.Slot, s.Via, note.Err, err)
		}
	}
	a.mu.Unlock()
	for _, err := range errs {
		a.cfg.Log.Error("pre-shared key not kept", note.Err, err, note.Do, "look at the disk of the data folder")
	}
	a.tell()
	switch {
	case idle:
		return 0
	case next.IsZero():
		return looks
	}
	return min(looks, max(next.Sub(now), time.Millisecond))
}
