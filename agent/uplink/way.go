package uplink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/weft-net/weft/agent/proxy"
	"golang.org/x/sys/unix"
)

// Way is how servers are reached. The zero value is TCP to each.
type Way struct {
	Dial  func(ctx context.Context, addr string) (net.Conn, error) // nil: TCP
	Proxy func(server string) *proxy.Proxy                         // nil: none
}

func (u *Uplink) way() Way { return Way{u.cfg.Dial, u.cfg.Proxy} }

// through is the proxy of a server; nil: directly.
func (w Way) through(server string) *proxy.Proxy {
	if w.Proxy == nil {
		return nil
	}
	return w.Proxy(server)
}

// connect reaches addr, HOST:PORT, directly or through a proxy.
func (w Way) connect(ctx context.Context, addr string, via *proxy.Proxy) (net.Conn, error) {
	dial := w.Dial
	if dial == nil {
		dial = dialTCP
	}
	if via == nil {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		conn, err := dial(ctx, addr)
		if err != nil {
			return nil, fmt.Errorf("uplink: connect to server %s: %w", addr, err)
		}
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, proxyTimeout)
	defer cancel()
	conn, err := dial(ctx, via.Addr())
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", via.Explain(addr, err))
	}
	if conn, err = via.Connect(ctx, conn, addr); err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	return conn, nil
}

// dialTCP is the Dial of a Way that gives none. Unacknowledged data ends the
// connection after deadAfter; our heartbeats stand in for TCP's keepalive.
func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadAfter.Milliseconds()))
		})
		return errors.Join(err, set)
	}}
	return d.DialContext(ctx, "tcp", addr)
}
