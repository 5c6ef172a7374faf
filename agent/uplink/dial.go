package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/proto/join"
)

// Times of reaching a server. A path that comes back must be found within 2 s:
// the kernel repeats a lost SYN after 1 s (RFC 6298, section 2), so an attempt
// that lives 1.2 s has two, and a backoff of at most 1 s follows it.
const (
	connectTimeout = 1200 * time.Millisecond
	stagger        = 250 * time.Millisecond // between the starts of attempts (RFC 8305, section 5)
	maxTargets     = 16

	// proxyTimeout is for a proxy to be reached and to reach a server.
	proxyTimeout = 6 * time.Second
	// proxyRefused is the pause before a proxy is asked again that said no: many lock
	// accounts out.
	proxyRefused = 30 * time.Second
)

// How long a server may take for a handshake. One that thousands come to at once
// takes them one after the other, and who leaves begins again: so an agent that has
// no other server to try stays, and one that has tries them soon, and then stays
// for longer each time.
const (
	handshakeSoon = 3 * time.Second
	handshakeMost = 12 * time.Second
)

// crowdedError is a handshake that a server which answered did not bring to its
// end.
type crowdedError struct{ err error }

func (e crowdedError) Error() string { return e.err.Error() }
func (e crowdedError) Unwrap() error { return e.err }

// ParseServer reads what --server accepts, https://HOST[:PORT] or HOST[:PORT],
// and returns HOST:PORT.
func ParseServer(s string) (string, error) {
	out, err := join.ParseServer(s)
	if err != nil {
		return "", fmt.Errorf("uplink: %w", err)
	}
	return out, nil
}

// target is one address of one server.
type target struct {
	server string       // HOST:PORT as configured
	addr   string       // ADDRESS:PORT; of a server behind a proxy as server
	via    *proxy.Proxy // nil: directly
}

var errAllHeld = errors.New("uplink: all servers asked to be left alone for a while, or their proxy refused; the agent comes back to them by itself")

// targets resolves the servers, in order. Names are resolved at each try, those
// behind a proxy by the proxy.
func (u *Uplink) targets(ctx context.Context, servers []string) ([]target, error) {
	if len(servers) == 0 {
		return nil, errAllHeld
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var out []target
	var errs []error
	for _, s := range servers {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return nil, fmt.Errorf("uplink: server %q: %w", s, err)
		}
		via := u.way().through(s)
		if _, err := netip.ParseAddr(host); err == nil || via != nil {
			out = append(out, target{s, s, via})
			continue
		}
		addrs, err := u.cfg.Resolve(ctx, host)
		if err != nil {
			errs = append(errs, fmt.Errorf("uplink: resolve server %s: %w", host, err))
		}
		// One that answers but is broken must not hide the others for ever.
		addrs = slices.Clone(addrs)
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		for _, a := range addrs {
			out = append(out, target{server: s, addr: net.JoinHostPort(a, port)})
		}
	}
	if len(out) == 0 {
		return nil, errors.Join(errs...)
	}
	return out[:min(len(out), maxTargets)], nil
}

// link is one connection to a server.
type link struct {
	server string
	via    *proxy.Proxy        // nil: directly
	local  netip.Addr          // our end; zero if it is no TCP connection
	remote netip.Addr          // the other end; zero likewise
	shown  []*x509.Certificate // by the server
}

// host is the server's name or address, without the port.
func (l link) host() string {
	host, _, _ := net.SplitHostPort(l.server)
	return host
}

func localOf(c net.Conn) netip.Addr { return ipOf(c.LocalAddr()) }

func ipOf(addr net.Addr) netip.Addr {
	if a, ok := addr.(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

type connected struct {
	conn   net.Conn
	target target
	err    error
}

// race connects to the first target that answers; each attempt starts a stagger
// after the one before it, so the order is a preference.
func (u *Uplink) race(ctx context.Context, ts []target) (connected, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan connected, len(ts))
	for i, t := range ts {
		go func() { results <- u.attempt(ctx, time.Duration(i)*stagger, t) }()
	}
	var errs []error
	for i := range ts {
		r := <-results
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		cancel()
		for range len(ts) - i - 1 { // they end at once, now that ctx has
			if late := <-results; late.err == nil {
				late.conn.Close()
			}
		}
		return r, nil
	}
	return connected{}, errors.Join(errs...)
}

func (u *Uplink) attempt(ctx context.Context, after time.Duration, t target) connected {
	start := time.NewTimer(after)
	defer start.Stop()
	select {
	case <-ctx.Done():
		return connected{err: ctx.Err()}
	case <-start.C:
	}
	conn, err := u.way().connect(ctx, t.addr, t.via)
	if p := (*proxy.Error)(nil); errors.As(err, &p) && p.Decided() {
		u.order.hold(t.server, time.Now().Add(proxyRefused+rand.N(proxyRefused/4)))
	}
	return connected{conn, t, err}
}

// secure does the TLS handshake with the patience that fits, and learns from how it
// ends.
func (u *Uplink) secure(ctx context.Context, conn net.Conn, cfg *tls.Config, others bool) (*tls.Conn, error) {
	c, err := secure(ctx, conn, cfg, patience(others, u.crowded.Load()))
	if errors.As(err, new(crowdedError)) {
		u.crowded.Add(1)
	} else {
		u.crowded.Store(0)
	}
	return c, err
}

// patience with a server, after so many handshakes in a row that came to nothing.
func patience(others bool, failed uint32) time.Duration {
	if !others {
		return handshakeMost
	}
	return min(handshakeSoon<<min(failed, 8), handshakeMost)
}

// secure does the TLS handshake as the client. It closes conn if that fails.
func secure(ctx context.Context, conn net.Conn, cfg *tls.Config, within time.Duration) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c := tls.Client(conn, cfg)
	err := c.HandshakeContext(ctx)
	if err == nil {
		return c, nil
	}
	conn.Close()
	err = fmt.Errorf("uplink: TLS with server %s: %w", conn.RemoteAddr(), err)
	for _, cut := range []error{context.DeadlineExceeded, io.EOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, cut) {
			return nil, crowdedError{err}
		}
	}
	return nil, err
}
