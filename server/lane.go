package server

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"

	"github.com/weft-net/weft/proto/line"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/push"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// lane serves the agents that come by a line: each is let through by the same
// interceptors as a call of NodeSync.Sync.
type lane struct {
	hub     *push.Hub
	through []grpc.StreamServerInterceptor // the first sees the call first
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
		serving.Go(func() { l.serve(serve, conn.(*tls.Conn)) })
	}
}

// serve brings one agent to the hub.
func (l *lane) serve(ctx context.Context, conn *tls.Conn) {
	a := &arrived{Conn: line.New(conn), turn: conn.NetConn().(guest).turn}
	defer a.turn.end()
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: conn.RemoteAddr(), AuthInfo: proven(conn)})
	handler := func(_ any, s grpc.ServerStream) error { return l.hub.Speak(s.Context(), a) }
	for i := len(l.through) - 1; i >= 0; i-- {
		inner := handler
		handler = func(server any, s grpc.ServerStream) error { return l.through[i](server, s, &syncInfo, inner) }
	}
	a.End(handler(l.hub, call{ctx}))
}

var syncInfo = grpc.StreamServerInfo{FullMethod: weftv1.NodeSync_Sync_FullMethodName, IsClientStream: true, IsServerStream: true}

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

// call is what interceptors see of a stream that is no call of gRPC's: who makes
// it. Nobody reads or writes by it.
type call struct{ ctx context.Context }

var errNoCall = status.Error(codes.Internal, "server: a line has no headers, and messages go by it directly")

// Context implements grpc.ServerStream.
func (c call) Context() context.Context { return c.ctx }

// SetHeader implements grpc.ServerStream.
func (call) SetHeader(metadata.MD) error { return errNoCall }

// SendHeader implements grpc.ServerStream.
func (call) SendHeader(metadata.MD) error { return errNoCall }

// SetTrailer implements grpc.ServerStream.
func (call) SetTrailer(metadata.MD) {}

// SendMsg implements grpc.ServerStream.
func (call) SendMsg(any) error { return errNoCall }

// RecvMsg implements grpc.ServerStream.
func (call) RecvMsg(any) error { return errNoCall }
