package uplink

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/weft-net/weft/agent/uplink/tunnels"
	"github.com/weft-net/weft/proto/connect"
	"github.com/weft-net/weft/proto/skew"
	"github.com/weft-net/weft/tunnel"
)

// What a tunnel's handshake says, and where.
const (
	tunnelPath     = "/v1/tunnel"
	headerInstance = "Weft-Instance" // of this process: a server keeps the newest tunnel of each
	headerProtocol = "Weft-Protocol" // as in Hello
)

// tunnelBudget is what all streams of all tunnels may hold on a node, in bytes: it
// may be a small one, and pods need its memory.
const tunnelBudget = 64 << 20

// newTunnels binds what keeps tunnels to this node's servers, way and identity.
func (u *Uplink) newTunnels() *tunnels.Tunnels {
	budget := tunnel.NewBudget(tunnelBudget)
	return tunnels.New(tunnels.Config{
		Servers: u.tunnelServers,
		Reach:   u.reachTunnel,
		Open: func(ctx context.Context, p tunnels.Path) (tunnels.Conn, error) {
			return u.openTunnel(ctx, p, tunnel.Config{Budget: budget})
		},
		Serve: func(ctx context.Context, c tunnels.Conn, server string) {
			u.cfg.Tunnel(ctx, c.(tunnelConn).Conn, server)
		},
		Reason: tunnelReason, OnChange: u.tellTunnels, Log: u.cfg.Log,
	})
}

// Tunnels is how it stands with the tunnel to each server.
func (u *Uplink) Tunnels() []tunnels.Tunnel { return u.tuns.List() }

// TunnelCounts are since the start.
func (u *Uplink) TunnelCounts() tunnels.Counts { return u.tuns.Counts() }

// tunnelServers are those to have a tunnel to: none before the node has joined under
// its name.
func (u *Uplink) tunnelServers() []string {
	if id := u.identity(); u.cfg.Tunnel == nil || id.cert == nil || id.former != "" {
		return nil
	}
	return u.order.known()
}

// reachTunnel connects to a server as the stream does, to speak HTTP/1.1.
func (u *Uplink) reachTunnel(ctx context.Context, server string) (tunnels.Path, error) {
	id := u.identity()
	if id.cert == nil || u.now().After(id.cert.NotAfter) {
		return tunnels.Path{}, errors.New("uplink: the node's certificate has ended; the agent renews it by itself")
	}
	ts, err := u.targets(ctx, []string{server})
	if err != nil {
		return tunnels.Path{}, err
	}
	c, err := u.race(ctx, ts)
	if err != nil {
		return tunnels.Path{}, err
	}
	cfg := id.tls(u.now, true)
	cfg.NextProtos = []string{"http/1.1"}
	cfg.DynamicRecordSizingDisabled = true
	conn, err := secure(ctx, tunnel.NewCork(c.conn), cfg, handshakeMost)
	if err != nil {
		return tunnels.Path{}, err
	}
	p := tunnels.Path{Server: server, Conn: conn, Peer: peerOf(conn), Local: localOf(conn), Until: id.cert.NotAfter}
	if c.target.via != nil {
		p.Proxy = c.target.via.String()
	}
	return p, nil
}

// peerOf names a server by its key, of which each has another.
func peerOf(conn *tls.Conn) string {
	shown := conn.ConnectionState().PeerCertificates
	if len(shown) == 0 {
		return ""
	}
	sum := sha256.Sum256(shown[0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// openTunnel makes the websocket's handshake.
func (u *Uplink) openTunnel(ctx context.Context, p tunnels.Path, cfg tunnel.Config) (tunnels.Conn, error) {
	c, _, err := u.dialTunnel(ctx, p, tunnelPath, cfg)
	if err != nil {
		return nil, fmt.Errorf("uplink: tunnel to server %s: %w", p.Server, err)
	}
	return tunnelConn{c}, nil
}

// dialTunnel asks a server for a websocket at a path of its URL.
func (u *Uplink) dialTunnel(ctx context.Context, p tunnels.Path, at string, cfg tunnel.Config) (*tunnel.Conn, *http.Response, error) {
	h := http.Header{headerInstance: {u.instance}, headerProtocol: {strconv.FormatUint(uint64(skew.Protocol()), 10)}}
	c, answer, err := tunnel.Dial(ctx, p.Conn, "wss://"+p.Server+at, h, cfg)
	if err != nil && answer != nil && answer.StatusCode != http.StatusSwitchingProtocols {
		err = connect.Refused(answer)
	}
	return c, answer, err
}

// tunnelConn is a tunnel as its keeper sees it.
type tunnelConn struct{ *tunnel.Conn }

// Streams implements tunnels.Conn.
func (c tunnelConn) Streams() int { return c.Stats().Streams }

// tunnelReason is why a tunnel ended, one word of a few.
func tunnelReason(err error) string {
	switch {
	case errors.Is(err, tunnel.ErrDead):
		return "silent"
	case errors.Is(err, tunnel.ErrPeerClosed):
		return "closed"
	case errors.Is(err, net.ErrClosed):
		return "stopped"
	}
	return "lost"
}
