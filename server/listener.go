package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/weft-net/weft/proto/note"
	"google.golang.org/grpc/credentials"
)

// Bounds on connections that have not shown who they are.
const (
	handshakeWithin = 5 * time.Second
	handshakesMax   = 1024 // at one time; more wait in the kernel's queue
	// When thousands come at once, all of them worked on at a time are all late: an
	// agent gives up after 3 s. So few are computed, in the order of their coming,
	// and one that has waited so long that its client is about to go is let go
	// before it costs anything. It comes back in a second.
	greetingsMax   = 128
	greetingWithin = 2 * time.Second
	greetingHeld   = time.Second
)

// port is the one TLS port: it does the handshakes, and hands connections to h2
// and to the rest by ALPN (RFC 7301).
type port struct {
	tcp  net.Listener
	tls  *tls.Config
	log  *slog.Logger
	h2   *queue
	http *queue

	greetings chan struct{} // handshakes that have heard their client
}

// newPort serves on a listener, once it runs.
func newPort(tcp net.Listener, config *tls.Config, log *slog.Logger) *port {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	p := &port{
		tcp: tcp, tls: config, log: log, h2: newQueue(tcp.Addr()), http: newQueue(tcp.Addr()),
		greetings: make(chan struct{}, greetingsMax),
	}
	config.GetConfigForClient = p.greet
	return p
}

// listen takes an address that a flag names. One in use is an error that says so.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, listenError(flag, address, err)
	}
	return l, nil
}

func listenError(flag, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("server: %s %s is in use by another process; `ss -ltnp` names it. Stop it, or choose another %s", flag, address, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("server: %s %s is no address of this machine", flag, address)
	}
	return fmt.Errorf("server: %s: %w", flag, err)
}

// run accepts until ctx ends, and waits for the handshakes in flight.
func (p *port) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = p.tcp.Close() })
	defer stop()
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	defer cancel()
	places := make(chan struct{}, handshakesMax)
	for {
		conn, err := p.tcp.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			p.log.Warn("connection not accepted", note.Err, err)
			if !pause(ctx, 100*time.Millisecond) { // out of files: others must end first
				return nil
			}
			continue
		}
		places <- struct{}{}
		inFlight.Go(func() {
			defer func() { <-places }()
			p.handshake(ctx, conn)
		})
	}
}

func (p *port) handshake(ctx context.Context, raw net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	g := &greeting{Conn: raw, done: func() {}}
	conn := tls.Server(g, p.tls)
	err := conn.HandshakeContext(ctx)
	g.done()
	if err != nil {
		p.log.Debug("handshake failed", note.Conn, raw.RemoteAddr().String(), note.Err, err)
		_ = raw.Close()
		return
	}
	q := p.http
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		q = p.h2
	}
	if !q.put(ctx, conn) {
		_ = conn.Close()
	}
}

// greeting is a connection whose handshake goes on.
type greeting struct {
	net.Conn
	done func() // gives its place back
}

var errCrowded = errors.New("server: too many connections came at once; come back in a second")

// greet is what TLS asks when it has heard a client and computed nothing yet.
func (p *port) greet(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	return nil, p.place(hello.Context(), hello.Conn.(*greeting))
}

// place waits for a place among the handshakes that are worked on. A client that
// does not go on loses it soon.
func (p *port) place(ctx context.Context, g *greeting) error {
	late := time.NewTimer(greetingWithin)
	defer late.Stop()
	select {
	case p.greetings <- struct{}{}:
	case <-late.C:
		return errCrowded
	case <-ctx.Done():
		return ctx.Err()
	}
	done := sync.OnceFunc(func() { <-p.greetings })
	held := time.AfterFunc(greetingHeld, done)
	g.done = func() { held.Stop(); done() }
	return nil
}

// pause answers false if ctx ended meanwhile.
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

// queue is a net.Listener whose connections stand already.
type queue struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// put answers false when nobody takes the connection in time.
func (q *queue) put(ctx context.Context, c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.closed:
	case <-ctx.Done():
	}
	return false
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }

// shaken are the credentials of connections that have done their handshake:
// gRPC is told who the other end is as if it had done it.
type shaken struct{}

// ServerHandshake implements credentials.TransportCredentials.
func (shaken) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, ok := c.(*tls.Conn)
	if !ok {
		return nil, nil, fmt.Errorf("server: a connection of type %T reached gRPC", c)
	}
	return c, credentials.TLSInfo{
		State:          conn.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// ClientHandshake implements credentials.TransportCredentials. Nobody dials.
func (shaken) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("server: these credentials are for servers")
}

// Info implements credentials.TransportCredentials.
func (shaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (s shaken) Clone() credentials.TransportCredentials { return s }

// OverrideServerName implements credentials.TransportCredentials. It is for
// clients.
func (shaken) OverrideServerName(string) error { return nil }
