package uplink

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/agent/uplink/tunnels"
	"github.com/weft-net/weft/proto/note"
	frames "github.com/weft-net/weft/proto/relay"
	"github.com/weft-net/weft/tunnel"
)

// newRelays binds what keeps connections to servers' relays: the same servers, way and
// identity as those of tunnels, other connections.
func (u *Uplink) newRelays() *tunnels.Tunnels {
	budget := tunnel.NewBudget(tunnelBudget)
	return tunnels.New(tunnels.Config{
		Servers: u.relayServers,
		Reach:   u.reachTunnel,
		Open: func(ctx context.Context, p tunnels.Path) (tunnels.Conn, error) {
			cfg, serve := u.cfg.Relay()
			cfg.Budget = budget
			c, answer, err := u.dialTunnel(ctx, p, frames.Path, cfg)
			if err != nil {
				return nil, fmt.Errorf("uplink: relay of server %s: %w", p.Server, err)
			}
			name := answer.Header.Get(frames.HeaderServer)
			if name == "" || len(name) > frames.MaxName {
				_ = c.Close()
				return nil, fmt.Errorf("uplink: relay of server %s: it says no name of 1 to %d bytes (header %s)", p.Server, frames.MaxName, frames.HeaderServer)
			}
			return relayConn{tunnelConn{c}, name, serve}, nil
		},
		Serve: func(ctx context.Context, c tunnels.Conn, _ string) {
			of := c.(relayConn)
			of.serve(ctx, of.Conn, of.server)
		},
		Reason: tunnelReason, Log: u.cfg.Log.With(note.Room, "relay"),
	})
}

// relayConn is a connection to a server's relay as its keeper sees it.
type relayConn struct {
	tunnelConn
	server string // its name
	serve  func(ctx context.Context, c *tunnel.Conn, server string)
}

// relayServers are those to have a connection to: none while all pairs of the fabric
// send by one way.
func (u *Uplink) relayServers() []string {
	id, h := u.identity(), u.held.Load()
	if u.cfg.Relay == nil || id.cert == nil || id.former != "" || h == nil || !h.intent().Cluster.Meshed() {
		return nil
	}
	return u.order.known()
}

// Relays is how it stands with the connection to each server's relay.
func (u *Uplink) Relays() []tunnels.Tunnel { return u.relays.List() }

// RelayCounts are since the start.
func (u *Uplink) RelayCounts() tunnels.Counts { return u.relays.Counts() }
