package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/relay"
	"golang.org/x/sync/errgroup"
)

// Folder is where ports are remembered: datadir.Dir.
type Folder interface {
	Read(name string) ([]byte, error)
	Write(name string, b []byte) error
	SetAside(name string) (string, error)
}

// Config is what a Relay needs. All functions are called from several goroutines, must
// not block, and must not call the Relay.
type Config struct {
	Node   string
	Folder Folder
	// Device is the UDP port of this node's own WireGuard device of a slot; 0: there is
	// none.
	Device func(slot uint8) uint16
	// Intent is the last complete one.
	Intent func() (intent.Node, bool)
	// Straight tells whether this node reaches another without a node between.
	Straight func(node string) bool
	// Secret is what only this node and a peer know: X25519 of their WireGuard keys of a
	// slot (RFC 7748, section 6.1).
	Secret func(peer string, slot uint8) ([32]byte, bool)
	// Probe takes a probe of a peer that came over a relay, and must not keep the bytes.
	Probe func(via mesh.Via, peer string, slot uint8, b []byte)
	// OnChange is called when Servers has changed.
	OnChange func()
	Log      *slog.Logger
}

// Relay carries what pairs of this node have nothing better for. Its methods are safe
// for concurrent use, and none of them waits.
type Relay struct {
	cfg     Config
	born    time.Time
	changed chan struct{} // room for one: look at the intent
	flows   chan struct{} // room for one: somebody sends again

	openings chan struct{} // room for one: somebody asks for a session
	stats    counters
	nodes    nodes
	forge    forge

	mu      sync.RWMutex // guards all below
	life    context.Context
	ports   map[key]*port
	guises  map[key]*guise // see As
	memory  map[key]uint16 // ports that were, and are to be taken again
	dirty   bool           // memory is other than on disk
	links   map[string]*link
	order   []*link             // of links, those that answer, the quickest first
	members map[string]struct{} // peers of the fabric
	serving sync.WaitGroup      // readers of ports
}

// key is a peer in a slot.
type key struct {
	peer string
	slot uint8
}

// New reads which ports there were. A file that cannot be read is set aside and told
// of: the devices are given other ports then.
func New(cfg Config) (*Relay, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		cfg: cfg, born: time.Now(), changed: make(chan struct{}, 1), flows: make(chan struct{}, 1), openings: make(chan struct{}, 1),
		ports: map[key]*port{}, guises: map[key]*guise{}, memory: map[key]uint16{}, links: map[string]*link{}, members: map[string]struct{}{},
	}
	r.nodes.init(r)
	err := r.recall()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	r.meet()
	return r, nil
}

// Run carries until ctx ends, and closes all ports then.
func (r *Relay) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	r.begin(ctx)
	g.Go(func() error { return r.look(ctx) })
	g.Go(func() error { return r.watch(ctx) })
	g.Go(func() error { return r.reopen(ctx) })
	g.Go(func() error { return r.nodes.run(ctx) })
	err := g.Wait()
	r.end()
	return err
}

// begin has the ports read that were opened before.
func (r *Relay) begin(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = ctx
	for _, p := range r.ports {
		r.serving.Go(p.read)
	}
}

func (r *Relay) end() {
	r.mu.Lock()
	for k, p := range r.ports {
		p.close()
		delete(r.ports, k)
	}
	r.mu.Unlock()
	r.serving.Wait()
	r.forge.close()
	r.remember()
}

// look follows the intent, and writes down which ports there are.
func (r *Relay) look(ctx context.Context) error {
	for {
		r.meet()
		r.retarget()
		r.nodes.kick()
		r.remember()
		select {
		case <-ctx.Done():
			return nil
		case <-r.changed:
		}
	}
}

// Changed says that the intent, an address of this node or the port of a device may be
// another.
func (r *Relay) Changed() { signal(r.changed) }

// meet takes notice of who is of the fabric.
func (r *Relay) meet() {
	n, held := r.cfg.Intent()
	if !held {
		return
	}
	members := make(map[string]struct{}, len(n.Peers))
	for _, p := range n.Peers {
		members[p.Name] = struct{}{}
	}
	r.mu.Lock()
	r.members = members
	r.mu.Unlock()
	r.nodes.meet(n)
}

// Endpoint is where WireGuard's device of a slot reaches a peer over a relay: a port on
// this machine, the same as long as the node remembers the peer.
func (r *Relay) Endpoint(peer string, slot uint8) (netip.AddrPort, error) {
	p, err := r.port(key{peer, slot})
	if err != nil {
		return netip.AddrPort{}, err
	}
	return p.local, nil
}

// Whose says which peer and slot an address is the Endpoint of, also of one that has
// not been asked for since the start.
func (r *Relay) Whose(at netip.AddrPort) (peer string, slot uint8, ok bool) {
	if at.Addr() != loopback {
		return "", 0, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for k, port := range r.memory {
		if port == at.Port() {
			return k.peer, k.slot, true
		}
	}
	return "", 0, false
}

// Use says over which relay a peer's packets of a slot go from now on. The zero Via
// leaves that to whatever there is.
func (r *Relay) Use(peer string, slot uint8, via mesh.Via) error {
	p, err := r.port(key{peer, slot})
	if err != nil {
		return err
	}
	p.via.Store(&via)
	return nil
}

// Keep closes and forgets the ports of all peers but some. It is for a complete intent.
func (r *Relay) Keep(keep func(peer string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, p := range r.ports {
		if !keep(k.peer) {
			p.close()
			delete(r.ports, k)
		}
	}
	maps.DeleteFunc(r.guises, func(k key, _ *guise) bool { return !keep(k.peer) })
	for k := range r.memory {
		if !keep(k.peer) {
			delete(r.memory, k)
			r.dirty = true
		}
	}
	signal(r.changed)
}

// SendProbe sends a probe to a peer over a relay. An error says that there is no such
// relay now.
func (r *Relay) SendProbe(via mesh.Via, peer string, slot uint8, b []byte) error {
	if len(b) == 0 || len(b) > wire.MaxProbe {
		return fmt.Errorf("relay: a probe has %d bytes: 1 to %d", len(b), wire.MaxProbe)
	}
	if via.Node != "" {
		return r.nodes.probe(via.Node, peer, slot, b)
	}
	l := r.link(via.Server)
	if l == nil {
		return fmt.Errorf("relay: there is no connection to the relay of server %q", via.Server)
	}
	l.probe(peer, slot, b)
	return nil
}

// Servers are the names of those whose relay answers, the quickest first.
func (r *Relay) Servers() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []string
	for _, l := range r.order {
		out = append(out, l.server)
	}
	return out
}

// rank puts the links in order, and says whether it is another; r.mu is held. One
// passes another only if it is quicker by far, so that what is alike stays in place.
func (r *Relay) rank() bool {
	var order []*link
	for _, l := range r.order {
		if r.links[l.server] != nil && !r.links[l.server].mute.Load() {
			order = append(order, r.links[l.server])
		}
	}
	for _, server := range slices.Sorted(maps.Keys(r.links)) {
		if l := r.links[server]; !l.mute.Load() && !slices.Contains(order, l) {
			order = append(order, l)
		}
	}
	for i := 1; i < len(order); i++ {
		for j := i; j > 0 && order[j].beats(order[j-1]); j-- {
			order[j], order[j-1] = order[j-1], order[j]
		}
	}
	same := slices.EqualFunc(order, r.order, func(a, b *link) bool { return a.server == b.server })
	r.order = order
	return !same
}

// signal fills a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits for d, and tells whether ctx still stands.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
