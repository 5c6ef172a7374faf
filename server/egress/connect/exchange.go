package connect

import (
	"context"
	"errors"
	"net"

	"github.com/weft-net/weft/server/egress"
)

// errHungUp says that the client went before it was answered.
var errHungUp = errors.New("connect: the client hung up")

// serve has the target of a request dialled, and answers. It returns an error as
// long as it has not answered.
func (s *Server) serve(ctx context.Context, conn net.Conn, to egress.Request, early []byte) error {
	guest, err := s.Who(ctx, conn)
	if err != nil {
		return answerOf(err)
	}
	if guest.Leave != nil {
		defer guest.Leave()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if guest.Held != nil {
		stop := context.AfterFunc(guest.Held, func() { cancel(context.Cause(guest.Held)) })
		defer stop()
	}
	p := newPassage(conn, early, s.LookEvery, func() { cancel(errHungUp) })
	defer p.end()
	target, err := s.dial(ctx, guest.Asker, to)
	if err == nil {
		err = p.run(ctx, target)
	}
	s.refuse(conn, err)
	return nil
}

// dial has the target dialled. The error is an answer, or errHungUp.
func (s *Server) dial(ctx context.Context, by egress.Asker, to egress.Request) (egress.Conn, error) {
	if s.dials.Add(1) > int64(s.MaxDials) {
		s.dials.Add(-1)
		return nil, answerOf(&egress.Refusal{Code: egress.Overloaded, Reason: "too many dials are under way here", Remedy: "ask again in a moment"})
	}
	defer s.dials.Add(-1)
	dialling, done := context.WithTimeout(ctx, s.DialWithin)
	defer done()
	target, err := s.Dialer.Dial(dialling, by, to)
	switch {
	case err == nil:
		return target, nil
	case errors.Is(context.Cause(ctx), errHungUp):
		return nil, errHungUp
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.Canceled): // the right to be here ended
		return nil, answerOf(&egress.Refusal{Code: egress.Forbidden, Reason: context.Cause(ctx).Error()})
	}
	return nil, answerOf(err)
}
