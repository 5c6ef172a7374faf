package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/egress"
)

// Dialer reaches targets behind tunnels: egress.Gate. An error is an
// egress.Refusal, or is taken for an unreachable target.
type Dialer interface {
	Dial(ctx context.Context, by egress.Asker, to egress.Request) (egress.Conn, error)
}

// Guest is who came.
type Guest struct {
	egress.Asker
	Held  context.Context // ends, with a cause, when the right to be here does; nil: never
	Leave func()          // is called when the connection has ended; may be nil
}

// Config makes a Server.
type Config struct {
	Dialer Dialer
	// Who answers who came. Its error is told to the client.
	Who func(ctx context.Context, conn net.Conn) (Guest, error)
	// Others takes a connection whose first request is no CONNECT, or one that another
	// server hands on, as it came; nil: it is refused.
	Others func(conn net.Conn)
	Log    *slog.Logger

	HeadWithin time.Duration // for a request to be read; default 5 s
	DialWithin time.Duration // for a dial; default 30 s, as a kube-apiserver's own
	MaxUnread  int           // connections whose request was not read yet; default 4,096
	MaxDials   int           // dials under way; default 16,384
	LookEvery  time.Duration // whether a client that ended first is still there; default 1 min
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HeadWithin == 0 {
		c.HeadWithin = 5 * time.Second
	}
	if c.DialWithin == 0 {
		c.DialWithin = 30 * time.Second
	}
	if c.MaxUnread == 0 {
		c.MaxUnread = 4 << 10
	}
	if c.MaxDials == 0 {
		c.MaxDials = 16 << 10
	}
	if c.LookEvery == 0 {
		c.LookEvery = time.Minute
	}
	return c
}

// Server answers CONNECT.
type Server struct {
	Config
	unread unread
	dials  atomic.Int64
}

// New returns a Server.
func New(c Config) *Server {
	c = c.withDefaults()
	return &Server{Config: c, unread: unread{most: c.MaxUnread}}
}

// acceptAgain is the pause after a connection could not be accepted: out of files,
// others must end first.
const acceptAgain = 100 * time.Millisecond

// Serve answers on a listener until ctx ends, which ends all connections. It closes
// the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("connect: the listener was closed")
		case err != nil:
			s.Log.Warn("connection not accepted", note.Err, err, note.Retry, acceptAgain)
			select {
			case <-time.After(acceptAgain):
			case <-ctx.Done():
			}
			continue
		}
		leave := s.unread.enter(conn)
		serving.Go(func() { s.meet(ctx, conn, leave) })
	}
}

// meet reads the request of a connection, and answers it or hands it on. read is
// called as soon as the request was read.
func (s *Server) meet(ctx context.Context, conn net.Conn, read func()) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetReadDeadline(time.Now().Add(s.HeadWithin))
	all, end, err := readHead(conn, make([]byte, 0, maxHead))
	_ = conn.SetReadDeadline(time.Time{})
	read()
	var to egress.Request
	if err == nil {
		to, err = parse(all[:end])
	}
	if errors.Is(err, errOther) && s.Others != nil {
		stop()
		s.Others(ahead(conn, all))
		return
	}
	defer conn.Close()
	if err == nil {
		err = s.serve(ctx, conn, to, all[end:])
	}
	s.refuse(conn, err)
}

// refuse tells a client why not. Nobody waits for what was not asked for.
func (s *Server) refuse(conn net.Conn, err error) {
	var timeout net.Error
	switch {
	case err == nil, errors.Is(err, net.ErrClosed), errors.Is(err, errHungUp):
		return
	case errors.As(err, new(*answer)):
	case errors.Is(err, errOther):
		err = malformed("only CONNECT is answered here, and no dial that another server hands on")
	case errors.As(err, &timeout) && timeout.Timeout():
		err = malformed("no whole request came within %v", s.HeadWithin)
	default:
		return // it never said what it wants
	}
	a := answerOf(err)
	s.Log.Debug("connect refused", note.Why, a.Reason)
	a.send(conn)
}
