package egress

import (
	"context"
	"net"
	"time"
)

// Conn is what a dial gives: bytes both ways, each of which ends by itself.
type Conn interface {
	net.Conn
	// CloseWrite says that nothing more comes from this side.
	CloseWrite() error
}

// Link is a tunnel as this room uses it: tunnel.Conn.
type Link interface {
	// Open returns when the other end has accepted, or a Refusal.
	Open(ctx context.Context, target []byte) (Conn, error)
	// Serve refuses what the other end opens, until the tunnel ends; it returns why
	// it did.
	Serve() error
	// Answers says whether the other end answers now, within ctx.
	Answers(ctx context.Context) bool
	// Drain lets streams end that are open, and takes no new ones.
	Drain()
	// End closes it, for a reason.
	End(reason error)
	Done() <-chan struct{}
	Figures() Figures
}

// Figures are what is counted of a tunnel.
type Figures struct {
	RoundTrip      time.Duration // the last; 0: none yet
	Streams        int           // open
	Opened         uint64        // all there were
	Sent, Received uint64        // bytes of streams
	Stalls         uint64        // waits for the other end to take what was sent
	Buffered       uint64        // bytes received and not read yet
}

// session is an agent's tunnel to this server.
type session struct {
	node, instance, from string
	protocol             uint32
	since                time.Time
	link                 Link
}

// gone says that the tunnel has ended.
func (s *session) gone() bool {
	select {
	case <-s.link.Done():
		return true
	default:
		return false
	}
}
