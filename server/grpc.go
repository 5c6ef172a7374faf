package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/admin"
	"github.com/weft-net/weft/server/audit"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/push"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// maxMessage bounds one message that a client sends, in bytes: all documents of
// an apply are one. It counts also for those who have not shown who they are.
const maxMessage = 4 << 20

// services is the gRPC side of the port.
type services struct {
	grpc   *grpc.Server
	health *health.Server
}

func newServices(auth *identity.Authority, trail *audit.Trail, hub *push.Hub, operators *admin.Server, quick quick) *services {
	g := grpc.NewServer(
		grpc.Creds(shaken{}),
		grpc.ConnectionTimeout(handshakeWithin), // for HTTP/2's preface; the handshake is done
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(128),
		// Thousands of agents hold a connection each, most of them silent: no buffer
		// for what TLS has buffered already, one for writing only while something is
		// written, and windows of a size that needs no pings to find it.
		grpc.ReadBufferSize(0), grpc.WriteBufferSize(16<<10), // shared by default
		grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(256<<10),
		grpc.ChainUnaryInterceptor(trail.Unary, auth.Unary, quick.Unary), // the trail first: it sees refusals too
		grpc.ChainStreamInterceptor(trail.Stream, auth.Stream),
		// Agents' heartbeats are in the stream. This finds connections that died
		// under operators, and bears with clients that look more often than needed.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	s := &services{grpc: g, health: health.NewServer()}
	weftv1.RegisterJoinServer(g, auth)
	weftv1.RegisterNodeSyncServer(g, hub)
	weftv1.RegisterUsersServer(g, users{auth: auth})
	weftv1.RegisterAuthorityServer(g, authority{auth: auth})
	operators.Register(g)
	healthv1.RegisterHealthServer(g, s.health)
	reflection.Register(g) // v1 and v1alpha
	return s
}

// run serves until ctx ends. Then clients are told to go elsewhere (GOAWAY,
// RFC 9113, section 6.8), and what has not ended within stopWithin is cut.
func (s *services) run(ctx context.Context, q *queue) error {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		s.health.Shutdown()
		cut := time.AfterFunc(stopWithin, s.grpc.Stop)
		defer cut.Stop()
		s.grpc.GracefulStop()
	})
	err := s.grpc.Serve(q)
	if stop() { // Serve failed by itself
		s.grpc.Stop()
		return err
	}
	<-done
	return nil
}

// web answers HTTP/1.1 on the port.
func web(h http.HandlerFunc, log *slog.Logger) *http.Server {
	srv := showing(bounded(h))
	srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	return srv
}
