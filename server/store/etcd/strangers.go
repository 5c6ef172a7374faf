package etcd

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
)

// strangers are who reached the embedded etcd's socket by themselves: an etcdctl, a
// meter. When etcd stops it waits for their streams as long as a request may take
// (5.4 s) unless it happens to cut them first, and a watch never ends by itself. So
// their contexts end before it stops.
type strangers struct {
	mu      sync.Mutex
	closing bool
	streams map[*guest]struct{}
}

// errClosing is why their contexts end.
var errClosing = errors.New("etcd: it is being closed")

// Stream is the interceptor through which they all come.
func (s *strangers) Stream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cut := context.WithCancelCause(stream.Context())
	defer cut(nil)
	g := &guest{stream, ctx, cut}
	s.add(g)
	defer s.remove(g)
	return handler(server, g)
}

func (s *strangers) add(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		g.cut(errClosing)
	}
	if s.streams == nil {
		s.streams = map[*guest]struct{}{}
	}
	s.streams[g] = struct{}{}
}

func (s *strangers) remove(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, g)
}

// sendAway ends those that are there, and those that still come.
func (s *strangers) sendAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for g := range s.streams {
		g.cut(errClosing)
	}
}

// guest is a stranger's stream.
type guest struct {
	grpc.ServerStream
	ctx context.Context
	cut context.CancelCauseFunc
}

// Context implements grpc.ServerStream.
func (g *guest) Context() context.Context { return g.ctx }
