package egress

import (
	"errors"
	"net"
	"sync"

	"github.com/weft-net/weft/tunnel"
)

// splice copies both ways until both directions have ended. The end of one is passed
// on as such; a failure of one ends both, at both ends.
func (s *session) splice(stream *tunnel.Stream, to *net.TCPConn) {
	var forth sync.WaitGroup
	forth.Go(func() { s.forth(stream, to) })
	n, err := stream.ReadFrom(to)
	s.counts.back(n)
	if err == nil {
		err = stream.CloseWrite()
	}
	if err != nil {
		stream.Reset(broken(err))
		reset(to)
	}
	forth.Wait()
	stream.Close()
}

// forth copies from the server to the target. That the target takes no more does
// not end the other direction: what it has sent is still on its way, and reading
// from it ends by itself.
func (s *session) forth(stream *tunnel.Stream, to *net.TCPConn) {
	n, err := stream.WriteTo(to)
	s.counts.forth(n)
	switch {
	case err == nil:
		_ = to.CloseWrite() // fails where the target is gone already
	case !ofTarget(stream, err):
		reset(to)
	}
}

// ofTarget tells whether a copy failed at the target, not in the tunnel.
func ofTarget(stream *tunnel.Stream, err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && stream.Conn().Err() == nil
}

// broken is why a stream is reset, for its other end.
func broken(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return "the target: " + op.Err.Error()
	}
	return err.Error()
}

// reset ends a connection at once, so that its other end knows that this is no
// orderly end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
