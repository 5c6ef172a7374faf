package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/proto/connect"
)

// Fields of ours in requests and answers.
const (
	fieldNode = "Weft-Node" // of whom the agent shall dial
	fieldCode = "Weft-Code" // of a refusal, one word
)

// Words of fieldCode that this package or its callers tell apart.
const (
	Forbidden   = "Forbidden"
	NoTunnel    = "NoTunnel"
	Unreachable = "Unreachable"
	TimedOut    = "TimedOut"
	overloaded  = "Overloaded"
	stopping    = "Stopping"
)

// reachWithin bounds how long one server may take to answer TLS.
const reachWithin = 5 * time.Second

// Dialer reaches targets through servers. It is safe for concurrent use.
type Dialer struct {
	Servers []string      // HOST:PORT, at least one
	TLS     *tls.Config   // the operator's
	Within  time.Duration // for an answer, the agent's dial included

	last atomic.Int64 // the server that answered
}

// Conn is a connection that can end one direction.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Dial reaches target, HOST:PORT, through a node's agent; node is empty where the
// server's routes say whose. What a server refuses is a *connect.Refusal; its Code
// says more.
func (d *Dialer) Dial(ctx context.Context, node, target string) (Conn, error) {
	var errs []error
	first := int(d.last.Load())
	for i := range d.Servers {
		n := (first + i) % len(d.Servers)
		c, err := d.through(ctx, d.Servers[n], node, target)
		if err == nil {
			d.last.Store(int64(n))
			return c, nil
		}
		if !another(err) || ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", d.Servers[n], err))
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return nil, errors.Join(errs...)
}

// unreached is a server that did not come as far as an answer.
type unreached struct{ error }

func (e unreached) Unwrap() error { return e.error }

// Late says that a server took the request, and that nothing came of it in time.
func Late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(unreached))
}

// another says whether another server may do what this one did not.
func another(err error) bool {
	if errors.As(err, new(unreached)) {
		return true
	}
	switch Code(err) {
	case overloaded, stopping:
		return true
	}
	return Old(err)
}

// Code is why a server refused, one word; empty if it did not say.
func Code(err error) string {
	if r := (*connect.Refusal)(nil); errors.As(err, &r) {
		return r.Header.Get(fieldCode)
	}
	return ""
}

// Old says that a server is of a release without front ends.
func Old(err error) bool {
	r := (*connect.Refusal)(nil)
	if !errors.As(err, &r) || Code(err) != "" {
		return false
	}
	switch r.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

func (d *Dialer) through(ctx context.Context, server, node, target string) (Conn, error) {
	conn, err := d.reach(ctx, server)
	if err != nil {
		return nil, unreached{err}
	}
	header := http.Header{"User-Agent": {"weft"}}
	if node != "" {
		header.Set(fieldNode, node)
	}
	within, cancel := context.WithTimeout(ctx, d.Within)
	defer cancel()
	through, err := connect.Ask(within, conn, target, header)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	half, ok := through.(Conn)
	if !ok {
		_ = conn.Close()
		return nil, errors.New("front: a connection that cannot end one direction") // TLS can
	}
	return half, nil
}

func (d *Dialer) reach(ctx context.Context, server string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, min(reachWithin, d.Within))
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	config := d.TLS.Clone()
	config.ServerName, _, _ = net.SplitHostPort(server)
	config.NextProtos = []string{"http/1.1"}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}
