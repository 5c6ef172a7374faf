package paths

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/intent"
	"golang.org/x/sync/errgroup"
)

// maxWaiting is how many packets wait for the machine; beyond, the newest is lost.
const maxWaiting = 1024

// Paths is the room. Its methods are safe for concurrent use.
type Paths struct {
	cfg     Config
	kicks   chan struct{} // room for one, as the next two
	moves   chan struct{}
	looks   chan struct{}
	packets chan arrival
	devices chan []Device
	names   *names

	choices atomic.Pointer[map[string]mesh.Choice]
	report  atomic.Pointer[Report]
	counts  counts

	mu sync.Mutex // what follows
	d  *driver
}

// arrival is a packet that came: one of the three.
type arrival struct {
	outer   probe.Datagram
	relayed relayed
	inner   probe.Reply
	kind    uint8
}

const (
	cameOuter uint8 = iota
	cameRelayed
	cameInner
)

// relayed is a packet that a relay brought.
type relayed struct {
	via  mesh.Via
	peer string
	slot uint8
	data []byte
	at   time.Time
}

// New makes the room; nothing happens before Run.
func New(c Config) *Paths {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Machine == nil {
		c.Machine = mesh.New(c.Self, time.Now())
	}
	p := &Paths{
		cfg: c, kicks: make(chan struct{}, 1), moves: make(chan struct{}, 1), looks: make(chan struct{}, 1),
		packets: make(chan arrival, maxWaiting), devices: make(chan []Device, 1),
	}
	p.names = newNames(c.External, c.Resolve, c.Log)
	p.d = newDriver(p, time.Now())
	p.choices.Store(&map[string]mesh.Choice{})
	p.report.Store(&Report{})
	return p
}

// Kick says that what Config's functions answer has changed.
func (p *Paths) Kick() { wake(p.kicks) }

// Moved says that addresses, routes or links of the node have changed.
func (p *Paths) Moved() { wake(p.moves) }

// Choices are by which way the node sends to each peer. The map is not changed any
// more; it is the same while nothing has changed.
func (p *Paths) Choices() map[string]mesh.Choice { return *p.choices.Load() }

// Report is what the node says of itself.
func (p *Paths) Report() Report { return *p.report.Load() }

// External says which of Config.External lead nobody to the node, and why.
func (p *Paths) External() []string { return p.names.problems() }

// Explain tells how the node sends to a peer, and why not better; false of a peer that
// is not known.
func (p *Paths) Explain(peer string) (mesh.Explanation, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.d.machine.Explain(peer, time.Now())
}

// Summary is where all pairs stand.
func (p *Paths) Summary() mesh.Summary {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.d.machine.Summary()
}

// Tunnels is what is known of all tunnels, by peer.
func (p *Paths) Tunnels() map[string][intent.Slots]mesh.Tunnel {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.d.machine.Tunnels(time.Now())
}

// Relayed takes a packet that a relay brought from a peer. What does not begin as a
// probe does is not for this room: false.
func (p *Paths) Relayed(via mesh.Via, peer string, slot uint8, b []byte) bool {
	if !isProbe(b) {
		return false
	}
	p.put(arrival{kind: cameRelayed, relayed: relayed{via, peer, slot, append([]byte(nil), b...), time.Now()}})
	return true
}

func (p *Paths) put(a arrival) {
	select {
	case p.packets <- a:
	default:
		p.counts.add(lostInQueue)
	}
}

// Run works until ctx ends.
func (p *Paths) Run(ctx context.Context) error {
	wire := p.cfg.Wire
	if wire == nil {
		s, err := probe.Open(ctx)
		if err != nil {
			return err
		}
		defer s.Close()
		wire = s
	}
	p.mu.Lock()
	p.d.wire = wire
	p.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return wire.Run(ctx,
			func(d probe.Datagram) { p.put(arrival{kind: cameOuter, outer: d}) },
			func(r probe.Reply) { p.put(arrival{kind: cameInner, inner: r}) })
	})
	g.Go(func() error { return p.poll(ctx) })
	g.Go(func() error { return p.names.run(ctx, p.Kick) })
	g.Go(func() error { return p.loop(ctx) })
	return g.Wait()
}

// loop hands the driver what happens, one thing after the other.
func (p *Paths) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	p.Kick()
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return nil
		case a := <-p.packets:
			now = p.do(func(now time.Time) { p.d.arrived(a, now); p.drain(now) })
		case list := <-p.devices:
			now = p.do(func(now time.Time) { p.d.status(list, now) })
		case <-p.kicks:
			now = p.do(p.d.read)
		case <-p.moves:
			p.names.again()
			now = p.do(p.d.moved)
		case <-timer.C:
			now = p.do(func(time.Time) {})
		}
		timer.Reset(max(p.d.next.Sub(now), time.Millisecond))
	}
}

// drain takes what else has come, so that the machine is stepped once for all.
func (p *Paths) drain(now time.Time) {
	for range maxWaiting / 4 {
		select {
		case a := <-p.packets:
			p.d.arrived(a, now)
		default:
			return
		}
	}
}

// do runs f under the lock, then does what has become due, and tells.
func (p *Paths) do(f func(now time.Time)) time.Time {
	now := time.Now()
	p.mu.Lock()
	f(now)
	p.d.turn(now)
	choices, report := p.d.news(now)
	p.mu.Unlock()
	if choices != nil {
		p.choices.Store(&choices)
		if p.cfg.Changed != nil {
			p.cfg.Changed()
		}
	}
	if report != nil {
		p.report.Store(report)
		if p.cfg.Told != nil {
			p.cfg.Told()
		}
	}
	return now
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// earliest is the first of two times; the zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return cmp.Or(b, a)
	}
	return a
}
