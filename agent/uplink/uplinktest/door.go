package uplinktest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/weft-net/weft/proto/line"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/tunnel"
)

// door does the handshakes, and is gRPC's listener of those that are its.
type door struct {
	fabric   *Fabric
	tls      *tls.Config
	standing chan net.Conn
	web      chan net.Conn
	ctx      context.Context
}

// side is net/http's listener of its connections.
type side struct{ *door }

// Accept implements net.Listener.
func (s side) Accept() (net.Conn, error) { return s.next(s.web) }

func (d *door) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go d.greet(tls.Server(tunnel.NewCork(soon{conn}), d.tls))
	}
}

// soon is a bufconn that net/http can hand over. A deadline that is over is put a
// moment ahead: its timer may run after the deadline was lifted, and end what stands.
// And crypto/tls must know that one that passed is no end.
type soon struct{ net.Conn }

// Read implements net.Conn.
func (s soon) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// SetReadDeadline implements net.Conn.
func (s soon) SetReadDeadline(t time.Time) error {
	if least := time.Now().Add(time.Millisecond); !t.IsZero() && t.Before(least) {
		t = least
	}
	return s.Conn.SetReadDeadline(t)
}

func (d *door) greet(conn *tls.Conn) {
	if conn.HandshakeContext(d.ctx) != nil {
		conn.Close()
		return
	}
	to := d.standing
	switch conn.ConnectionState().NegotiatedProtocol {
	case line.Protocol:
		d.line(conn)
		return
	case "http/1.1":
		to = d.web
	}
	select {
	case to <- conn:
	case <-d.ctx.Done():
		conn.Close()
	}
}

// line serves a stream that has its connection for itself.
func (d *door) line(conn net.Conn) {
	ctx, gone := context.WithCancel(d.ctx)
	defer gone()
	l := lineWire{line.New(conn), ctx, gone}
	defer context.AfterFunc(d.ctx, func() { conn.Close() })()
	l.End(d.fabric.serve(l))
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) { return d.next(d.standing) }

func (d *door) next(conns chan net.Conn) (net.Conn, error) {
	select {
	case c := <-conns:
		return c, nil
	case <-d.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (d *door) Close() error { return nil }

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return &net.TCPAddr{} }

// lineWire is wire over a line.
type lineWire struct {
	*line.Conn
	ctx  context.Context
	gone func()
}

func (l lineWire) Context() context.Context { return l.ctx }

func (l lineWire) Send(m *weftv1.SyncResponse) error {
	if err := l.Conn.Send(m); err != nil {
		return err
	}
	return l.Flush()
}

func (l lineWire) Recv() (*weftv1.SyncRequest, error) {
	m := &weftv1.SyncRequest{}
	if err := l.Receive(m, 4<<20); err != nil {
		l.gone()
		return nil, io.EOF
	}
	return m, nil
}
