package preshared

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	wire "github.com/weft-net/weft/proto/preshared"
)

// Fact is what is known of a tunnel beside its keys: see Slot.
type Fact struct {
	Used, Mute bool
	Key        [32]byte
}

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

// Net is a socket at one fabric address.
type Net interface {
	// Send sends through a device and no other.
	Send(dev string, to netip.Addr, b []byte) error
	// Receive waits for a datagram, and tells who sent it and by which device it came.
	Receive(b []byte) (n int, from netip.Addr, dev string, err error)
	Close() error
}

// looks is how often facts are looked at without a kick.
const looks = 500 * time.Millisecond

// maxWaiting is how many datagrams wait; beyond, the newest is lost.
const maxWaiting = 256

// Agreement is the room. Its methods are safe for concurrent use.
type Agreement struct {
	cfg    Config
	kicks  chan struct{} // room for one
	came   chan datagram
	states atomic.Pointer[map[string][intent.Slots]State]

	mu sync.Mutex // what follows
	m  *Machine
	n  intent.Node
}

// datagram is one that came.
type datagram struct {
	from netip.Addr
	via  uint8
	data []byte
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

// Run works until ctx ends.
func (a *Agreement) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := a.serve(ctx); !errors.Is(err, errMoved) {
			return err
		}
	}
	return nil
}

// errMoved ends what listens at fabric addresses that are not the node's any more.
var errMoved = errors.New("preshared: the node's fabric addresses are others")

// serve works at the node's fabric addresses until it has others.
func (a *Agreement) serve(ctx context.Context) error {
	at := a.look()
	g, ctx := errgroup.WithContext(ctx)
	nets := map[bool]Net{}
	for _, addr := range at {
		conn, err := a.cfg.Listen(ctx, addr)
		if err != nil {
			a.cfg.Log.Warn("pre-shared keys not agreed on", note.Addr, addr, note.Err, err)
			continue
		}
		nets[addr.Is4()] = conn
		g.Go(func() error { return a.receive(conn) })
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

// receive takes datagrams until the socket is closed.
func (a *Agreement) receive(n Net) error {
	b := make([]byte, wire.MaxSize+1)
	for {
		size, from, dev, err := n.Receive(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		via := slices.Index([]string{datapath.WGLink(0), datapath.WGLink(1)}, dev)
		if via < 0 {
			continue
		}
		select {
		case a.came <- datagram{from, uint8(via), slices.Clone(b[:size])}:
		default:
		}
	}
}

// loop does what is due.
func (a *Agreement) loop(ctx context.Context, at []netip.Addr, nets map[bool]Net) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-a.came:
			a.hear(d)
		case <-a.kicks:
		case <-timer.C:
		}
		if !slices.Equal(a.look(), at) {
			return errMoved
		}
		next := a.step(nets)
		timer.Reset(next)
	}
}

// look takes what is known now, and answers the node's fabric addresses.
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
	self, _ := n.Self()
	return self.Fabric()
}

// peersOf is what the machine is told of peers. As long as nobody knows by what pairs
// send, each tunnel may be in use.
func peersOf(n intent.Node, own []intent.Slot, facts map[string][intent.Slots]Fact, known bool) (out []Peer) {
	for i := range n.Peers {
		o := &n.Peers[i]
		if o.Name == n.Name {
			continue
		}
		p := Peer{Name: o.Name, Able: o.Preshared}
		for _, s := range own {
			theirs, ok := o.SlotOf(s.Slot)
			if !ok {
				continue
			}
			f, has := facts[o.Name]
			fact := f[s.Slot]
			p.Slots[s.Slot] = Slot{
				There: true, Own: s.Key, Theirs: theirs.Key, Leaving: s.Leaving || theirs.Leaving,
				Used: fact.Used || !known || !has, Mute: fact.Mute, Key: fact.Key,
			}
		}
		out = append(out, p)
	}
	return out
}

// hear takes a datagram of a peer.
func (a *Agreement) hear(d datagram) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.n.Peers {
		p := &a.n.Peers[i]
		if fabric, ok := p.FabricOf(d.from.Is4()); !ok || fabric != d.from || p.Name == a.n.Name {
			continue
		}
		key, err := a.mac(p, d.via)
		if err != nil {
			return
		}
		in, err := wire.Decode(d.data, key)
		if err != nil {
			a.cfg.Log.Debug("message refused", note.Node, p.Name, note.Err, err)
			return
		}
		a.m.Hear(p.Name, d.via, in, time.Now())
		return
	}
}

// mac is the key of messages in a tunnel.
func (a *Agreement) mac(p *intent.Peer, via uint8) (key [32]byte, err error) {
	theirs, ok := p.SlotOf(via)
	for _, s := range a.cfg.Slots() {
		if s.Slot != via || !ok {
			continue
		}
		static, err := a.cfg.Shared(s.Key, theirs.Key)
		if err != nil {
			return key, err
		}
		if a.n.Name < p.Name {
			return wire.MACKey(static, s.Key, theirs.Key)
		}
		return wire.MACKey(static, theirs.Key, s.Key)
	}
	return key, errNoTunnel
}

var errNoTunnel = errors.New("preshared: not both ends have a device of the slot")

// step does what is due, and answers when to come again.
func (a *Agreement) step(nets map[bool]Net) time.Duration {
	now := time.Now()
	a.mu.Lock()
	before := a.m.States()
	sends, next, errs := a.m.Step(now)
	a.log(before, a.m.States())
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
	wait := looks
	if !next.IsZero() {
		wait = min(wait, max(next.Sub(now), time.Millisecond))
	}
	return wait
}

// send sends a message in its tunnel.
func (a *Agreement) send(nets map[bool]Net, s Send) error {
	self, _ := a.n.Self()
	p, _ := a.n.Peer(s.Peer)
	key, err := a.mac(&p, s.Via)
	if err != nil {
		return err
	}
	for _, to := range p.Fabric() {
		_, both := self.FabricOf(to.Is4())
		if n := nets[to.Is4()]; both && n != nil {
			return n.Send(datapath.WGLink(s.Via), to, s.Message.Encode(key))
		}
	}
	return errNoFamily
}

var errNoFamily = errors.New("preshared: no family of fabric addresses that both have")

// tell hands on states that are others.
func (a *Agreement) tell() {
	a.mu.Lock()
	now := a.m.States()
	a.mu.Unlock()
	was := a.states.Swap(&now)
	if !same(*was, now) && a.cfg.Alter != nil {
		a.cfg.Alter()
	}
}

func same(a, b map[string][intent.Slots]State) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// log notes keys that are new, and such as are forgotten.
func (a *Agreement) log(was, now map[string][intent.Slots]State) {
	for name, list := range now {
		for slot, s := range list {
			old := was[name][slot]
			switch {
			case s.Key == old.Key:
			case s.Key != [32]byte{}:
				a.cfg.Log.Info("pre-shared key agreed on", note.Node, name, note.Slot, slot, note.Object, Short(s.Key))
			case s.Own == old.Own && s.Theirs == old.Theirs:
				a.cfg.Log.Warn("pre-shared key forgotten", note.Node, name, note.Slot, slot, note.Object, Short(old.Key),
					note.Why, "the two ends do not have the same", note.Do, "nothing: they agree on another")
			}
		}
	}
}
