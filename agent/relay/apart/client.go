package apart

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/relay"
	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/relay"
)

// askWithin is how long Endpoint waits for the process: it answers at once, or hangs.
const askWithin = 500 * time.Millisecond

// Starter starts and ends the process.
type Starter interface {
	// Start returns when the process listens. One that runs already is success.
	Start(ctx context.Context) error
	// Stop returns when it is gone. None is success.
	Stop(ctx context.Context) error
	// Kill is Stop for one that hangs: at once, and told to who wants to know of its end.
	Kill(ctx context.Context, why string) error
	// Follow has the end of the process told to who wants to know, also of one that an
	// agent before has started.
	Follow() error
}

// Config is what a Client needs. All functions are called from several goroutines, must
// not block, and must not call the Client, but Secret and Servers, which may take a
// moment.
type Config struct {
	Node, DataDir, RunDir, Release string

	Starter  Starter
	Device   func(slot uint8) uint16    // as relay.Config has it, and the next
	Intent   func() (intent.Node, bool) //
	Straight func(node string) (straight, known bool)
	Secret   func(peer string, slot uint8) ([32]byte, bool) //
	Probe    func(mesh.Via, string, uint8, []byte)          //
	Servers  func() (servers []string, apart time.Duration) // HOST:PORT to have a connection to, and how far their clock is from ours
	OnChange func()                                         // called when Servers has changed
	OnPort   func()                                         // called when an Endpoint is another, or was asked for in vain before
	Told     func(error)                                    // called when it is another: why there is no process; nil: there is one
	Log      *slog.Logger
}

// Client is the agent's end. Its methods are safe for concurrent use.
type Client struct {
	cfg     Config
	dirty   chan struct{} // room for one: there is something to say
	changed chan struct{} // room for one: look at the intent
	out     *queue
	in      *queue
	notes   chan struct{} // room for one: Servers has changed
	moves   chan struct{} // room for one: a port has

	mu      sync.Mutex // guards all below
	base    map[string]peer
	node    node
	held    bool // base and node are of an intent
	asks    map[key]ask
	missed  map[key]bool    // ports that were asked for in vain
	edited  map[string]bool // peers to be told
	events  events
	ports   map[key]netip.AddrPort
	waiting map[key]chan struct{} // closed when the port is told
	linked  bool                  // a process is spoken with
	mute    bool                  // it has let a question wait, and said nothing since
	servers []string
	said    bool // servers is what a process said, or that there is none
	stats   relay.Stats
	older   relay.Stats // of processes before
	lack    error       // as Told was told
}

// key is a peer in a slot.
type key struct {
	peer string
	slot uint8
}

// New makes a Client that Run connects.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		cfg: cfg, dirty: make(chan struct{}, 1), changed: make(chan struct{}, 1), out: newQueue(), in: newQueue(),
		notes: make(chan struct{}, 1), moves: make(chan struct{}, 1),
		base: map[string]peer{}, asks: map[key]ask{}, missed: map[key]bool{}, edited: map[string]bool{}, ports: map[key]netip.AddrPort{}, waiting: map[key]chan struct{}{},
	}
}

// Changed says that the intent, an address of this node, the port of a device, or who is
// reached without a node between may be another.
func (c *Client) Changed() { signal(c.changed) }

// Kick is Changed: uplink.Beside.
func (c *Client) Kick() { c.Changed() }

// Renewed says that the node has another certificate, or other roots, on the disk.
func (c *Client) Renewed() { c.happened(func(e *events) { e.Renewed = true }) }

// Alive says that a server answers.
func (c *Client) Alive(server string) {
	c.happened(func(e *events) {
		if len(e.Alive) < maxServers && !slices.Contains(e.Alive, server) {
			e.Alive = append(e.Alive, server)
		}
	})
}

// Moved says that the host's addresses are others; the process looks for itself.
func (c *Client) Moved(func(netip.Addr) bool) { c.happened(func(e *events) { e.Moved = true }) }

func (c *Client) happened(f func(*events)) {
	c.mu.Lock()
	f(&c.events)
	c.mu.Unlock()
	signal(c.dirty)
}

// Use says over which relay a peer's packets of a slot go: relay.Relay.Use.
func (c *Client) Use(name string, n uint8, via mesh.Via) error {
	return c.ask(key{name, n}, func(a *ask) bool {
		same := a.Port && a.Via != nil && *a.Via == via
		a.Port, a.Via = true, &via
		return !same
	})
}

// As says from where what comes over a relay is to seem to come: relay.Relay.As.
func (c *Client) As(name string, n uint8, from netip.AddrPort) error {
	return c.ask(key{name, n}, func(a *ask) bool {
		same := a.As != nil && *a.As == from
		a.As = &from
		return !same
	})
}

// ask notes what is wanted, if f says that it is news.
func (c *Client) ask(k key, f func(*ask) bool) error {
	if int(k.slot) >= intent.Slots || k.peer == "" || len(k.peer) > wire.MaxName {
		return fmt.Errorf("apart: no node has the name %.60q and slot %d", k.peer, k.slot)
	}
	c.mu.Lock()
	a := c.asks[k]
	news := f(&a)
	c.asks[k] = a
	if news {
		c.edited[k.peer] = true
	}
	c.mu.Unlock()
	if news {
		signal(c.dirty)
	}
	return nil
}

// errNoProcess says that nobody carries now.
var errNoProcess = errors.New("apart: the relay process does not run")

// Endpoint is where WireGuard's device of a slot reaches a peer over a relay:
// relay.Relay.Endpoint.
func (c *Client) Endpoint(name string, n uint8) (netip.AddrPort, error) {
	k := key{name, n}
	err := c.ask(k, func(a *ask) bool {
		was := a.Port
		a.Port = true
		return !was
	})
	if err != nil {
		return netip.AddrPort{}, err
	}
	c.mu.Lock()
	at, known := c.ports[k]
	told := c.waiting[k]
	if told == nil {
		told = make(chan struct{})
		c.waiting[k] = told
	}
	linked, mute := c.linked, c.mute
	c.missed[k] = !known && (!linked || mute)
	c.mu.Unlock()
	switch {
	case known:
		return at, nil
	case !linked:
		return netip.AddrPort{}, errNoProcess
	case mute: // of many peers only the first is waited for
		return netip.AddrPort{}, errHung
	}
	return c.await(k, told)
}

// await waits for a port that was asked for.
func (c *Client) await(k key, told <-chan struct{}) (netip.AddrPort, error) {
	t := time.NewTimer(askWithin)
	defer t.Stop()
	select {
	case <-told:
	case <-t.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at, known := c.ports[k]
	if !known {
		c.missed[k], c.mute = true, true
		return at, fmt.Errorf("apart: the relay process gave no port for node %s within %v", k.peer, askWithin)
	}
	return at, nil
}

// Keep forgets what was asked of all peers but some. The process forgets those that are
// no more of the fabric.
func (c *Client) Keep(keep func(peer string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.asks {
		if _, member := c.base[k.peer]; !keep(k.peer) && !member {
			delete(c.asks, k)
			delete(c.ports, k)
			delete(c.waiting, k)
			delete(c.missed, k)
		}
	}
}

// SendProbe sends a probe to a peer over a relay. An error says that there is no such
// relay now.
func (c *Client) SendProbe(via mesh.Via, name string, n uint8, b []byte) error {
	if len(b) == 0 || len(b) > wire.MaxProbe {
		return fmt.Errorf("apart: a probe has %d bytes: 1 to %d", len(b), wire.MaxProbe)
	}
	c.mu.Lock()
	linked, server := c.linked, slices.Contains(c.servers, via.Server)
	over := c.base[via.Node]
	c.mu.Unlock()
	switch {
	case !linked:
		return errNoProcess
	case via.Node == "" && !server:
		return fmt.Errorf("apart: there is no connection to the relay of server %q", via.Server)
	case via.Node != "" && !over.Relays && !over.sealed():
		return fmt.Errorf("apart: node %q relays for nobody (label %s=true)", via.Node, intent.RelayLabel)
	}
	if via.Node != "" {
		via.Server = ""
	}
	c.out.probe(probe{via, name, n, b})
	return nil
}

// Servers are the names of those whose relay answers, the quickest first. Until a process
// has said it, they are those that peers know of: an agent that starts would else tell
// them that there are none, and they would leave relays that carry.
func (c *Client) Servers() []string {
	c.mu.Lock()
	servers, said := slices.Clone(c.servers), c.said
	c.mu.Unlock()
	if said {
		return servers
	}
	n, _ := c.cfg.Intent()
	self, _ := n.Self()
	return slices.Clone(self.Relays)
}

// Stats are those of the process, as it said last: not older than a second or two.
// Counts are of all processes since the start of this one.
func (c *Client) Stats() relay.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return plus(c.older, c.stats)
}

// plus adds counts; what there is now is the second's.
func plus(a, b relay.Stats) relay.Stats {
	b.FramesOut += a.FramesOut
	b.FramesIn += a.FramesIn
	b.BytesOut += a.BytesOut
	b.BytesIn += a.BytesIn
	b.Nowhere += a.Nowhere
	b.Dropped += a.Dropped
	b.Queued += a.Queued
	b.Strays += a.Strays
	b.Floods += a.Floods
	b.Carried += a.Carried
	b.Mutes += a.Mutes
	return b
}
