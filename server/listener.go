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

	"github.com/weft-net/weft/proto/line"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/tunnel"
)

// handshakeWithin bounds how long a connection may take to show who it is. With
// turnHeld it bounds how many handshakes go on: turnsMax a second.
const handshakeWithin = 5 * time.Second

// port is the one TLS port: it does the handshakes, and hands connections to h2,
// to lines and to the rest by ALPN (RFC 7301).
type port struct {
	tcp   net.Listener
	tls   *tls.Config
	log   *slog.Logger
	h2    *queue
	http  *queue
	lines *queue // nil: no line is offered
}

// newPort serves on a listener, once it runs.
func newPort(tcp net.Listener, config *tls.Config, log *slog.Logger) *port {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	config.DynamicRecordSizingDisabled = true // a tunnel's records are as large as what is sent
	return &port{tcp: tcp, tls: config, log: log, h2: newQueue(tcp.Addr()), http: newQueue(tcp.Addr())}
}

// offerLines has clients that know lines prefer them. It is called before run.
func (p *port) offerLines() {
	p.lines = newQueue(p.tcp.Addr())
	p.tls.NextProtos = append([]string{line.Protocol}, p.tls.NextProtos...)
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

// run accepts until ctx ends, and waits for the handshakes in flight. It accepts at
// once: what waits in the kernel's queue waits behind those that have given up.
func (p *port) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = p.tcp.Close() })
	defer stop()
	come := newArrivals(func(conn net.Conn, t *turn) { p.handshake(ctx, conn, t) })
	defer come.close()
	defer cancel()
	for {
		conn, err := p.tcp.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			p.log.Warn("connection not accepted", note.Err, err)
			if !pause(ctx, 100*time.Millisecond) { // out of files: others must end first
				return nil
			}
			continue
		}
		come.come(conn)
	}
}

// guest is a connection that came, with its turn.
type guest struct {
	net.Conn
	turn *turn
}

// NetConn is the connection beneath: a tunnel looks there for its Cork.
func (g guest) NetConn() net.Conn { return g.Conn }

// handshake shows a connection to whom it is for. An agent's keeps its turn until
// the agent is let in: what was computed for it is lost if that takes too long.
func (p *port) handshake(ctx context.Context, raw net.Conn, t *turn) {
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	conn := tls.Server(guest{tunnel.NewCork(raw), t}, p.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		t.end()
		p.log.Debug("handshake failed", note.Conn, raw.RemoteAddr().String(), note.Err, err)
		_ = raw.Close()
		return
	}
	q := p.http
	switch conn.ConnectionState().NegotiatedProtocol {
	case "h2":
		q = p.h2
	case line.Protocol:
		q = p.lines
	}
	if q != p.lines {
		t.end()
	}
	if !q.put(ctx, conn) {
		t.end()
		_ = conn.Close()
	}
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
