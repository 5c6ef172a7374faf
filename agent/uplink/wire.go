package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	lineproto "github.com/weft-net/weft/proto/line"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// wire carries a stream's messages. A Send that fails with io.EOF leaves the reason
// to Recv, as gRPC has it.
type wire interface {
	Send(*weftv1.SyncRequest) error
	Recv() (*weftv1.SyncResponse, error)
}

// protocols are the ways to speak on a stream's connection: a line, and gRPC with a
// server that knows no lines.
var protocols = []string{lineproto.Protocol, "h2"}

// speak opens a stream over a connection, by the way that the server chose, and
// runs f with it.
func speak(conn *tls.Conn, authority string, f func(open func(context.Context) (wire, error)) error) error {
	if conn.ConnectionState().NegotiatedProtocol == lineproto.Protocol {
		l := lineWire{lineproto.New(conn)}
		defer l.Close()
		return f(func(ctx context.Context) (wire, error) {
			context.AfterFunc(ctx, l.Interrupt)
			return l, nil
		})
	}
	cc, err := client(conn, authority)
	if err != nil {
		return err
	}
	defer cc.Close()
	return f(func(ctx context.Context) (wire, error) { return weftv1.NewNodeSyncClient(cc).Sync(ctx) })
}

// lineWire is a stream that has its connection for itself.
type lineWire struct{ *lineproto.Conn }

// Send implements wire.
func (l lineWire) Send(m *weftv1.SyncRequest) error {
	err := l.Conn.Send(m)
	if err == nil {
		err = l.Flush()
	}
	if err != nil {
		return io.EOF
	}
	return nil
}

// Recv implements wire.
func (l lineWire) Recv() (*weftv1.SyncResponse, error) {
	m := &weftv1.SyncResponse{}
	if err := l.Receive(m, maxMessage); err != nil {
		return nil, err
	}
	return m, nil
}

// client speaks gRPC over a connection that stands already: who dials, and for
// how long, is ours to say (its own connect timeout is 20 s).
func client(conn net.Conn, authority string) (*grpc.ClientConn, error) {
	once := make(chan net.Conn, 1)
	once <- conn
	return grpc.NewClient("passthrough:///"+authority,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // conn is TLS
		grpc.WithAuthority(authority),
		grpc.WithIdleTimeout(0),
		// Given windows, gRPC does not measure the path with a ping at each message.
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("connection lost")
			}
		}),
	)
}
