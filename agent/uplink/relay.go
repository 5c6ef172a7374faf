package uplink

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/agent/uplink/tunnels"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	frames "github.com/weft-net/weft/proto/relay"
	"github.com/weft-net/weft/tunnel"
)

// Beside hears of what connections rest on that others keep to the same servers. Its
// methods must not block, nor ask the Uplink.
type Beside interface {
	Kick()                       // RelayServers may be others
	Renewed()                    // the certificate on the disk is newer, or the roots are
	Alive(server string)         // a server answers
	Moved(func(netip.Addr) bool) // which addresses the host has
}

// RelayServers are those to have a connection to the relay of: none while all pairs of
// the fabric send by one way.
func (u *Uplink) RelayServers() []string {
	id, h := u.identity(), u.held.Load()
	if id.cert == nil || id.former != "" || h == nil || !h.intent().Cluster.Meshed() {
		return nil
	}
	return u.order.known()
}

// RelaysConfig says how connections to servers' relays are made.
type RelaysConfig struct {
	Node string
	// Open says how one is opened, and what serves it until it ends, told the server's
	// name.
	Open  func() (cfg tunnel.Config, serve func(ctx context.Context, c *tunnel.Conn, server string))
	Proxy func(server string) *proxy.Proxy // nil: none
	Log   *slog.Logger
}

// Relays keeps a connection to the relay of each server of a list, with the identity
// that an Uplink keeps in a folder: it may run in another process, and go on while there
// is no Uplink. Its methods are safe for concurrent use.
type Relays struct {
	u    *Uplink // that has no stream
	open func() (tunnel.Config, func(context.Context, *tunnel.Conn, string))
	kept *tunnels.Tunnels

	mu      sync.Mutex
	servers []string
	shown   string // the identity that connections were told of
}

// NewRelays makes what Run keeps. It writes nothing to the folder.
func NewRelays(dir *datadir.Dir, c RelaysConfig) *Relays {
	cfg := Config{Node: c.Node, Proxy: c.Proxy, Log: c.Log, Now: time.Now, Resolve: net.DefaultResolver.LookupHost}
	r := &Relays{u: &Uplink{cfg: cfg, dir: dir, order: newOrder(c.Node, nil, nil), instance: rand.Text()}, open: c.Open}
	budget := tunnel.NewBudget(tunnelBudget)
	r.kept = tunnels.New(tunnels.Config{
		Servers: r.list, Reach: r.reach,
		Open: func(ctx context.Context, p tunnels.Path) (tunnels.Conn, error) { return r.dial(ctx, p, budget) },
		Serve: func(ctx context.Context, c tunnels.Conn, _ string) {
			of := c.(relayConn)
			of.serve(ctx, of.Conn, of.server)
		},
		Reason: tunnelReason, Log: c.Log.With(note.Room, "relay"),
	})
	return r
}

// Run keeps them until ctx ends.
func (r *Relays) Run(ctx context.Context) error { return r.kept.Run(ctx) }

// Set says to which servers, HOST:PORT, and how far their clock is from this machine's.
func (r *Relays) Set(servers []string, apart time.Duration) {
	r.mu.Lock()
	r.servers = servers
	r.mu.Unlock()
	r.u.mu.Lock()
	r.u.line.apart = apart
	r.u.mu.Unlock()
	r.kept.Kick()
}

// Renewed says that the identity on the disk may be another.
func (r *Relays) Renewed() {
	id, err := r.read()
	if err != nil || id.cert == nil {
		r.u.cfg.Log.Warn("identity not read", note.Err, err)
		return
	}
	r.mu.Lock()
	was := r.shown
	r.shown = id.print()
	same := was == r.shown
	r.mu.Unlock()
	if !same && was != "" {
		r.kept.Renewed()
	}
}

// Alive says that a server answers.
func (r *Relays) Alive(server string) { r.kept.Alive(server) }

// Moved tells which addresses the host has.
func (r *Relays) Moved(has func(netip.Addr) bool) { r.kept.Moved(has) }

func (r *Relays) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.servers
}

// read takes the identity from the disk.
func (r *Relays) read() (identity, error) {
	if certs, err := readCerts(r.u.dir, certName); err != nil || len(certs) == 0 {
		return identity{}, err
	}
	return loadIdentity(r.u.dir, r.u.cfg.Node)
}

// reach connects with the identity that is on the disk now: who renews it may be another
// process.
func (r *Relays) reach(ctx context.Context, server string) (tunnels.Path, error) {
	id, err := r.read()
	if err != nil {
		return tunnels.Path{}, err
	}
	r.mu.Lock()
	if r.shown == "" && id.cert != nil {
		r.shown = id.print()
	}
	r.mu.Unlock()
	r.u.mu.Lock()
	r.u.id = id
	r.u.mu.Unlock()
	return r.u.reachTunnel(ctx, server)
}

// dial makes the websocket's handshake.
func (r *Relays) dial(ctx context.Context, p tunnels.Path, budget *tunnel.Budget) (tunnels.Conn, error) {
	cfg, serve := r.open()
	cfg.Budget = budget
	c, answer, err := r.u.dialTunnel(ctx, p, frames.Path, cfg)
	if err != nil {
		return nil, fmt.Errorf("uplink: relay of server %s: %w", p.Server, err)
	}
	name := answer.Header.Get(frames.HeaderServer)
	if name == "" || len(name) > frames.MaxName {
		_ = c.Close()
		return nil, fmt.Errorf("uplink: relay of server %s: it says no name of 1 to %d bytes (header %s)", p.Server, frames.MaxName, frames.HeaderServer)
	}
	return relayConn{tunnelConn{c}, name, serve}, nil
}

// print tells one identity from another.
func (id identity) print() string {
	return strings.Join(append(hashes(id.roots), join.Hash(id.cert)), " ")
}

// relayConn is a connection to a server's relay as its keeper sees it.
type relayConn struct {
	tunnelConn
	server string // its name
	serve  func(ctx context.Context, c *tunnel.Conn, server string)
}
