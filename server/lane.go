package server

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"

	"github.com/weft-net/weft/proto/line"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/push"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// lane serves the agents that come by a line, as calls of NodeSync.Sync are served.
// No interceptor of gRPC's sees them: the audit's writes down what people do.
type lane struct {
	hub  *push.Hub
	hold func(ctx context.Context, method string) (held context.Context, release func(), err error) // identity.Authority.Hold
}

// run serves until ctx ends, and waits for the streams.
func (l *lane) run(ctx context.Context, q *queue) error {
	serve, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { cut(push.ErrStopping); _ = q.Close() })
	defer stop()
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := q.Accept()
		if err != nil {
			return nil // closed
		}
		serving.Go(func() { l.meet(serve, conn.(*tls.Conn), &serving) })
	}
}

// meet lets a node in whose certificate counts. What stays with the node is another
// goroutine: this one's stack is as large as all that was looked at needed.
func (l *lane) meet(ctx context.Context, conn *tls.Conn, serving *sync.WaitGroup) {
	a := &arrived{Conn: line.New(conn), turn: conn.NetConn().(guest).turn}
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: conn.RemoteAddr(), AuthInfo: proven(conn)})
	held, release, err := l.hold(ctx, weftv1.NodeSync_Sync_FullMethodName)
	if err != nil {
		a.turn.end()
		a.End(err)
		return
	}
	serving.Go(func() {
		err := l.hub.Speak(held, a)
		release()
		a.turn.end()
		a.End(err)
	})
}

// arrived is an agent's line.
type arrived struct {
	*line.Conn
	turn *turn
}

// Send implements push.Line.
func (a *arrived) Send(m *weftv1.SyncResponse) error { return a.Conn.Send(m) }

// Recv implements push.Line.
func (a *arrived) Recv() (*weftv1.SyncRequest, error) {
	m := &weftv1.SyncRequest{}
	switch err := a.Receive(m, maxMessage); {
	case err == nil:
		return m, nil
	case errors.Is(err, line.ErrMessage):
		return nil, status.Error(codes.InvalidArgument, err.Error())
	default:
		return nil, status.Error(codes.Canceled, "the agent went")
	}
}

// Entered implements push.Line.
func (a *arrived) Entered() { a.turn.end() }
