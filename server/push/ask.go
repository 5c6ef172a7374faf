package push

import (
	"context"
	"errors"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Bounds on questions to one agent.
const (
	maxOpen     = 8 // at one time
	maxResponse = 16 << 20
	longestAsk  = 30 * time.Second
)

// ErrNotHere is what Ask answers for a node without a stream to this server.
var ErrNotHere = errors.New("push: the node's agent has no stream to this server")

// asking are the questions that one stream waits to have answered.
type asking struct {
	next uint64
	open map[uint64]*question
	send []*weftv1.SyncResponse // for the writer
}

// question is one that waits.
type question struct {
	response []byte
	err      error
	done     chan struct{}
}

// Ask asks a node's agent what its own socket would be asked, a method of service
// Agent with its encoded request, and returns the encoded response. Errors are
// gRPC statuses, or ErrNotHere.
func (h *Hub) Ask(ctx context.Context, node, method string, request []byte) ([]byte, error) {
	h.mu.RLock()
	s := h.streams[node]
	h.mu.RUnlock()
	if s == nil {
		return nil, ErrNotHere
	}
	if !s.answers {
		return nil, status.Errorf(codes.Unimplemented, "the agent of node %s is of a release that answers no questions; ask on the node", node)
	}
	ctx, cancel := context.WithTimeout(ctx, longestAsk)
	defer cancel()
	id, q := s.ask(ctx, method, request)
	if q == nil {
		return nil, status.Errorf(codes.ResourceExhausted, "%d others ask node %s at the moment; ask again", maxOpen, node)
	}
	s.kick()
	defer s.unask(id)
	select {
	case <-q.done:
		return q.response, q.err
	case <-s.ctx.Done():
		return nil, status.Errorf(codes.Unavailable, "the agent of node %s went before it answered, and may have done what it was asked or not; look, and ask again when it is back: weft get nodes", node)
	case <-ctx.Done():
		return nil, status.Errorf(codes.DeadlineExceeded, "the agent of node %s did not answer in time", node)
	}
}

// ask sends a question; nil when too many are open.
func (s *stream) ask(ctx context.Context, method string, request []byte) (uint64, *question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asking.open) >= maxOpen || len(s.asking.send) >= maxOpen {
		return 0, nil
	}
	within := longestAsk
	if at, ok := ctx.Deadline(); ok {
		within = time.Until(at)
	}
	s.asking.next++
	s.asking.send = append(s.asking.send, &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Question{Question: &weftv1.Question{
		Id: s.asking.next, Method: method, Request: request, WithinMilli: uint32(max(within.Milliseconds(), 1)),
	}}})
	if s.asking.open == nil {
		s.asking.open = map[uint64]*question{}
	}
	q := &question{done: make(chan struct{})}
	s.asking.open[s.asking.next] = q
	return s.asking.next, q
}

// questions takes what the writer has to ask.
func (s *stream) questions() []*weftv1.SyncResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asking.send
	s.asking.send = nil
	return out
}

func (s *stream) unask(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asking.open, id)
}

// answered takes an answer, or a part of one. What nobody waits for is dropped.
func (s *stream) answered(a *weftv1.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.asking.open[a.GetId()]
	if q == nil {
		return
	}
	if a.GetCode() != 0 {
		q.err = status.Error(codes.Code(a.GetCode()), clip(a.GetMessage(), maxSentence))
	} else if q.response = append(q.response, a.GetResponse()...); len(q.response) > maxResponse {
		q.err = status.Errorf(codes.ResourceExhausted, "the agent's answer is larger than %d MiB", maxResponse>>20)
	} else if a.GetMore() {
		return
	}
	delete(s.asking.open, a.GetId())
	close(q.done)
}
