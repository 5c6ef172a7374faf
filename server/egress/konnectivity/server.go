package konnectivity

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/server/egress"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	proxy "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// Dialer reaches targets behind tunnels: egress.Gate. An error is an
// egress.Refusal, or is taken for an unreachable target.
type Dialer interface {
	Dial(ctx context.Context, by egress.Asker, to egress.Request) (egress.Conn, error)
}

// Config makes a Server.
type Config struct {
	Dialer Dialer
	By     egress.Asker // whoever may open the socket
	Log    *slog.Logger

	DialWithin time.Duration // default 30 s, as long as a kube-apiserver waits
	MaxDials   int           // under way; default 16,384
}

// Bounds on gRPC, in bytes where not said otherwise.
const (
	maxPacket    = 4 << 20 // as the real one's: a client may send all that it was given to write at once
	streamWindow = 256 << 10
	connWindow   = 1 << 20
	maxStreams   = 1024 // of one connection; a kube-apiserver makes a connection each
)

// prefaceWithin bounds HTTP/2's preface (RFC 9113, section 3.4).
const prefaceWithin = 5 * time.Second

// Server is ProxyService.
type Server struct {
	proxy.UnimplementedProxyServiceServer
	Config
	dials atomic.Int64
	last  atomic.Int64 // number of a connection; they begin at 1: clients take 0 for none
}

// New returns a Server.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.DialWithin == 0 {
		c.DialWithin = 30 * time.Second
	}
	if c.MaxDials == 0 {
		c.MaxDials = 16 << 10
	}
	return &Server{Config: c}
}

// Serve answers on a listener until ctx ends, which ends all connections. It closes
// the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(
		grpc.Creds(insecure.NewCredentials()), // who may open the socket is known by that
		grpc.ConnectionTimeout(prefaceWithin),
		grpc.MaxRecvMsgSize(maxPacket),
		grpc.MaxConcurrentStreams(maxStreams),
		// Windows of a size: one that grows as the path asks would let each target that
		// takes nothing hold megabytes.
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.ReadBufferSize(16<<10), grpc.WriteBufferSize(32<<10),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	proxy.RegisterProxyServiceServer(g, s)
	stop := context.AfterFunc(ctx, g.Stop)
	defer g.Stop() // waits for handlers, whoever called it first
	err := g.Serve(l)
	if stop() {
		return err
	}
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// Proxy implements ProxyServiceServer.
func (s *Server) Proxy(wire proxy.ProxyService_ProxyServer) error {
	ctx, cancel := context.WithCancel(wire.Context())
	st := &stream{server: s, ctx: ctx, wire: wire, dials: map[int64]context.CancelFunc{}, conns: map[int64]*conn{}}
	defer st.working.Wait()
	defer cancel()
	for {
		p, err := wire.Recv()
		if err != nil {
			if status.Code(err) == codes.ResourceExhausted { // a packet too large
				return err
			}
			return nil // the client went, or has no more to say
		}
		if err := st.take(p); err != nil {
			return err
		}
	}
}
