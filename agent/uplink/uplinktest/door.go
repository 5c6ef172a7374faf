package uplinktest

import (
	"context"
	"crypto/tls"
	"io"
	"net"

	"github.com/weft-net/weft/proto/line"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// door does the handshakes, and is gRPC's listener of those that are its.
type door struct {
	fabric   *Fabric
	tls      *tls.Config
	standing chan net.Conn
	ctx      context.Context
}

func (d *door) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go d.greet(tls.Server(conn, d.tls))
	}
}

func (d *door) greet(conn *tls.Conn) {
	if conn.HandshakeContext(d.ctx) != nil {
		conn.Close()
		return
	}
	if conn.ConnectionState().NegotiatedProtocol == line.Protocol {
		d.line(conn)
		return
	}
	select {
	case d.standing <- conn:
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
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.standing:
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
