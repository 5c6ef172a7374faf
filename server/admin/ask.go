package admin

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Question is what a node's agent is asked: a method of service Agent with its
// encoded request.
type Question struct {
	Node, Method string
	Request      []byte
}

// Bounds on a question to an agent.
const (
	askFor  = 10 * time.Second       // of an asker who sets none
	wayBack = 500 * time.Millisecond // left for the answer, so that it says who was waited for
)

// ask asks a node's agent a method of service Agent: over its stream, or where
// that is held by another server, over that one.
func (s *Server) ask(ctx context.Context, node, method string, question, response proto.Message) error {
	if err := intent.ValidName(node); err != nil {
		return badField("node", "%v", err)
	}
	request, err := proto.Marshal(question)
	if err != nil {
		return answer(err)
	}
	within := askFor
	if at, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(at)-wayBack)
	}
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	raw, err := s.Ask(limited, node, method, request)
	if errors.Is(err, push.ErrNotHere) {
		raw, err = s.elsewhere(limited, Question{node, method, request})
	}
	if err != nil {
		return answer(err)
	}
	if err := proto.Unmarshal(raw, response); err != nil {
		return status.Errorf(codes.Internal, "the agent of node %s answered %s with what is no answer: %v", node, method, err)
	}
	return nil
}

// elsewhere asks over the server that holds the node's stream. While the store answers
// nobody it is not known which that is.
func (s *Server) elsewhere(ctx context.Context, q Question) (raw []byte, err error) {
	since, err := s.heard(ctx, func(ctx context.Context) (err error) {
		raw, err = s.askThere(ctx, q)
		return err
	})
	if !since.IsZero() {
		return nil, status.Errorf(codes.Unavailable, "server %s has no stream of node %s, and the store, which knows who has, answers nobody; ask on the node, with --local", s.Name, q.Node)
	}
	return raw, err
}

// askThere hands a question on to the server that holds the node's stream.
func (s *Server) askThere(ctx context.Context, q Question) ([]byte, error) {
	server, err := s.holder(ctx, q.Node)
	if err != nil {
		return nil, err
	}
	if server == "" || server == s.Name || s.AskAt == nil {
		return nil, s.notHere(ctx, q.Node)
	}
	return s.AskAt(ctx, server, q)
}

// holder names the server that holds a node's stream, as servers wrote it; empty
// when none does.
func (s *Server) holder(ctx context.Context, node string) (string, error) {
	e, err := s.Store.Get(ctx, kind.ObservedNode(node))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	seen, err := kind.DecodeObservation[kind.NodeObservation](e)
	if err != nil || seen.Gone || seen.Run == "" {
		return "", nil // its next writer says
	}
	entries, _, err := s.Store.List(ctx, kind.ObservedServers)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		server, run, _ := strings.Cut(strings.TrimPrefix(e.Key, kind.ObservedServers), "/")
		if run != seen.Run {
			continue
		}
		if o, err := kind.DecodeObservation[kind.ServerObservation](e); err == nil && !o.Gone {
			return server, nil
		}
	}
	return "", nil
}

// notHere says why a node cannot be asked.
func (s *Server) notHere(ctx context.Context, name string) error {
	v, _, err := s.read(ctx, parts[kind.Node])
	if err != nil {
		return err
	}
	n := v.nodes[name]
	switch {
	case n == nil || !n.is():
		return missing(ref{kind.Node, "", name})
	case s.health(n).state == away:
		return status.Errorf(codes.FailedPrecondition, "node %s is away: no server hears its agent; ask on the node, weft status --local", name)
	}
	return status.Errorf(codes.Unavailable, "node %s is on its way from one server to another; ask again in a moment", name)
}
