package egress

import (
	"io"
	"net"
)

// counted is a connection whose bytes its trace counts. Copying through it costs
// what copying without it does: what is copied in one piece is counted when it ends.
type counted struct {
	Conn
	trace *trace
	end   func()
}

// Read implements net.Conn.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.trace.received.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.trace.sent.Add(int64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom: all of r is sent.
func (c *counted) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.Conn, r)
	c.trace.sent.Add(n)
	return n, err
}

// WriteTo implements io.WriterTo: all that is received goes to w.
func (c *counted) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, c.Conn)
	c.trace.received.Add(n)
	return n, err
}

// Close implements net.Conn.
func (c *counted) Close() error {
	err := c.Conn.Close()
	if c.trace.close() {
		c.end()
	}
	return err
}

// Reset ends the connection at once, as Abort does.
func (c *counted) Reset(reason string) {
	Abort(c.Conn, reason)
	_ = c.Close()
}

// Abort closes a connection so that its other end sees that it was no good end:
// neither a tunnel's stream nor TLS says that all was sent, and TCP is reset.
func Abort(c net.Conn, reason string) {
	if s, ok := c.(interface{ Reset(reason string) }); ok {
		s.Reset(reason)
		return
	}
	inner := c
	for {
		outer, ok := inner.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		inner = outer.NetConn()
	}
	if t, ok := inner.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = inner.Close()
	_ = c.Close()
}
