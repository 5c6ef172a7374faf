package push

import (
	"context"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// wire carries a stream's messages. What is sent is on its way once Flush was
// called.
type wire interface {
	Send(*weftv1.SyncResponse) error
	Flush() error
	Recv() (*weftv1.SyncRequest, error)
}

// Line is a connection that carries one stream and nothing else. Interrupt ends a
// Recv that waits, and soon a Send. Entered hears that the agent was let in.
type Line interface {
	wire
	Entered()
	Interrupt()
}

// overGRPC is one call among those of a connection.
type overGRPC struct {
	grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]
}

func (overGRPC) Flush() error { return nil }

// Speak serves a stream that has its connection for itself, and returns why it
// ended. ctx says who calls, as that of a call of gRPC's does. It costs one
// goroutine, which reads; cutting the stream interrupts it.
func (h *Hub) Speak(ctx context.Context, l Line) error {
	s := newStream(ctx, h, l)
	defer s.cut(nil)
	defer context.AfterFunc(s.ctx, l.Interrupt)()
	let := false
	s.read(func(hello *weftv1.Hello) error {
		err := ErrStopping
		h.work.aside(func() { err = s.open(hello) })
		if let = err == nil; let {
			l.Entered()
			s.kick()
		}
		return err
	})
	if let {
		h.leave(s)
	}
	return s.reason()
}

// Sync implements weftv1.NodeSyncServer. Only a handler that returns ends a call,
// and one that reads cannot: so another goroutine reads, and this one waits.
func (h *Hub) Sync(g grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]) error {
	s := newStream(g.Context(), h, overGRPC{g})
	defer s.cut(nil)
	said, opened := make(chan *weftv1.Hello, 1), make(chan struct{})
	wait := func(hello *weftv1.Hello) error {
		said <- hello
		select {
		case <-opened:
			return nil
		case <-s.ctx.Done():
			return s.reason()
		}
	}
	if !h.work.start(func() { s.read(wait) }) {
		return ErrStopping
	}
	late := time.NewTimer(h.cfg.Dead)
	defer late.Stop()
	var hello *weftv1.Hello
	select {
	case hello = <-said:
	case <-s.ctx.Done():
		return s.reason()
	case <-late.C:
		return status.Error(codes.DeadlineExceeded, "the stream opened without a hello")
	}
	err := ErrStopping
	h.work.aside(func() { err = s.open(hello) })
	if err != nil {
		return err
	}
	defer h.leave(s)
	close(opened)
	s.kick()
	<-s.ctx.Done()
	return s.reason()
}
