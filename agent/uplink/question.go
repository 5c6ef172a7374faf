package uplink

import (
	"context"
	"errors"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// SchemaQuestions is what this release answers.
const SchemaQuestions = 1

// Bounds on questions: a server must not be what kills the agent.
const (
	maxQuestions = 4 // at one time
	maxAsked     = 64 << 10
	partSize     = 256 << 10
	maxParts     = 64 // 16 MiB
	longestAsk   = 30 * time.Second
)

// questions are those that one stream has to answer.
type questions struct {
	busy chan struct{}            // one for each that is being answered
	out  chan *weftv1.SyncRequest // answers for the sender
}

func newQuestions() questions {
	return questions{busy: make(chan struct{}, maxQuestions), out: make(chan *weftv1.SyncRequest, 2*maxQuestions)}
}

// question answers a question, in a goroutine that ends with the stream. Too many at
// once are refused.
func (s *session) question(ctx context.Context, q *weftv1.Question) {
	select {
	case s.questions.busy <- struct{}{}:
	default:
		busy := &weftv1.Answer{Id: q.GetId(), Code: uint32(codes.ResourceExhausted), Message: "the agent is answering others; ask again"}
		select {
		case s.questions.out <- &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Answer{Answer: busy}}:
		default: // a flood: who asked will learn by his deadline
		}
		return
	}
	s.work.Go(func() {
		defer func() { <-s.questions.busy }()
		within := min(time.Duration(q.GetWithinMilli())*time.Millisecond, longestAsk)
		limited, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		response, err := s.respond(limited, q)
		s.answer(ctx, q.GetId(), response, err)
	})
}

func (s *session) respond(ctx context.Context, q *weftv1.Question) ([]byte, error) {
	switch {
	case s.u.cfg.Answer == nil:
		return nil, status.Error(codes.Unimplemented, "this agent answers no questions")
	case len(q.GetRequest()) > maxAsked:
		return nil, status.Errorf(codes.InvalidArgument, "a question of %d bytes; at most %d", len(q.GetRequest()), maxAsked)
	}
	response, err := s.u.cfg.Answer(ctx, q.GetMethod(), q.GetRequest())
	if err == nil && len(response) > partSize*maxParts {
		err = status.Errorf(codes.ResourceExhausted, "the answer has %d bytes; at most %d go over the stream: ask on the node, weft status --local", len(response), partSize*maxParts)
	}
	return response, err
}

// answer hands the parts of an answer to the sender.
func (s *session) answer(ctx context.Context, id uint64, response []byte, err error) {
	if err != nil {
		st := status.Convert(err)
		if errors.Is(err, context.DeadlineExceeded) {
			st = status.New(codes.DeadlineExceeded, "the agent did not find the answer in time")
		}
		s.put(ctx, &weftv1.Answer{Id: id, Code: uint32(st.Code()), Message: clip(st.Message())})
		return
	}
	for {
		n := min(len(response), partSize)
		part := &weftv1.Answer{Id: id, Response: response[:n], More: n < len(response)}
		if response = response[n:]; !s.put(ctx, part) || !part.GetMore() {
			return
		}
	}
}

func (s *session) put(ctx context.Context, a *weftv1.Answer) bool {
	select {
	case s.questions.out <- &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Answer{Answer: a}}:
		return true
	case <-ctx.Done():
		return false
	}
}
