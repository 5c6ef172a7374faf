package members

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Bounds on a question that is handed on.
const (
	wayBack   = 500 * time.Millisecond // of its time, left for the answer
	maxAnswer = 17 << 20               // bytes: an agent's largest, and what is around it
)

// Question is what the agent of a node is asked, by way of the server that holds
// its stream: a method of service Agent with its encoded request.
type Question struct {
	Node, Method string
	Request      []byte
	Asker        string // who asked this server: "admin ops"
}

// AskAt has another server ask a node's agent. That one hands nothing on. ctx must
// have an end. Errors are gRPC statuses: the agent's own, or one that names the
// server.
func (r *Room) AskAt(ctx context.Context, server string, q Question) ([]byte, error) {
	s, err := r.living(server)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "node %s speaks with %v", q.Node, err)
	}
	var a *weftv1.MembersAskResponse
	err = r.over(ctx, s, func(ctx context.Context, there weftv1.MembersClient) (err error) {
		a, err = there.Ask(ctx, &weftv1.MembersAskRequest{Node: q.Node, Method: q.Method, Request: q.Request, Asker: q.Asker},
			grpc.MaxCallRecvMsgSize(maxAnswer))
		return err
	})
	if err != nil {
		return nil, notAsked(q.Node, s, err)
	}
	if a.GetCode() != 0 {
		return nil, status.Error(codes.Code(a.GetCode()), a.GetMessage())
	}
	return a.GetResponse(), nil
}

// Others names the other servers.
func (r *Room) Others() []string {
	var out []string
	for _, s := range r.Servers() {
		if s.Name != r.cfg.Server.Name {
			out = append(out, s.Name)
		}
	}
	return out
}

// Removed says that there is no such server; while the records are not read yet,
// there may be.
func (r *Room) Removed(server string) bool {
	return r.servers.Revision() > 0 && !slices.ContainsFunc(r.Servers(), func(s Status) bool { return s.Name == server })
}

// Call calls another server, with this one's certificate. there may be called
// twice, the second time after an answer Unauthenticated. Errors of the connection
// name the server.
func (r *Room) Call(ctx context.Context, server string, there func(context.Context, grpc.ClientConnInterface) error) error {
	s, err := r.living(server)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	err = r.call(ctx, s, there)
	if got := status.Convert(err); got.Code() == codes.Unavailable || got.Code() == codes.DeadlineExceeded {
		return status.Errorf(got.Code(), "server %s at %s does not answer: %s", s.Name, s.Address, bare(got.Message()))
	}
	return err
}

// living is a server that is registered; the error says what it is else.
func (r *Room) living(name string) (Server, error) {
	for _, s := range r.Servers() {
		switch {
		case s.Name != name:
		case s.State == Ready || s.State == Learner:
			return s.Server, nil
		default:
			return Server{}, fmt.Errorf("server %s%s, which is %s", name, at(s.Address), strings.ToLower(string(s.State)))
		}
	}
	return Server{}, fmt.Errorf("server %s, which is not known here", name)
}

// notAsked says why another server did not ask a node.
func notAsked(node string, s Server, err error) error {
	got := status.Convert(err)
	what := fmt.Sprintf("node %s speaks with server %s at %s, which ", node, s.Name, s.Address)
	switch got.Code() {
	case codes.Unimplemented:
		return status.Errorf(codes.FailedPrecondition, "%sis of release %s and answers no other server's questions; ask it itself: weft --server https://%s", what, s.Version, s.Address)
	case codes.FailedPrecondition:
		return status.Errorf(codes.Unavailable, "node %s just left server %s for another; ask again in a moment", node, s.Name)
	case codes.Unavailable, codes.DeadlineExceeded:
		return status.Errorf(codes.Unavailable, "%sdoes not answer: %s; on the node: weft status --local", what, bare(got.Message()))
	}
	return status.Errorf(got.Code(), "%srefused: %s", what, got.Message())
}

// bare is gRPC's error of a connection without its own words.
func bare(message string) string {
	message = strings.TrimPrefix(message, `connection error: desc = "transport: `)
	return strings.TrimSuffix(strings.TrimPrefix(message, "Error while dialing: "), `"`)
}

// Ask implements weftv1.MembersServer. It is never handed on.
func (s *Service) Ask(ctx context.Context, r *weftv1.MembersAskRequest) (*weftv1.MembersAskResponse, error) {
	level := slog.LevelInfo // of what changes something
	if strings.HasPrefix(r.GetMethod(), "Get") || strings.HasPrefix(r.GetMethod(), "List") {
		level = slog.LevelDebug
	}
	s.Room.cfg.Log.Log(ctx, level, "node was asked for another server", note.Node, r.GetNode(), note.Op, r.GetMethod(), note.User, r.GetAsker())
	if at, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, at.Add(-wayBack))
		defer cancel()
	}
	response, err := s.Agents.Ask(ctx, r.GetNode(), r.GetMethod(), r.GetRequest())
	if errors.Is(err, s.Agents.NotHere) {
		return nil, status.Errorf(codes.FailedPrecondition, "node %s has no stream to server %s", r.GetNode(), s.Room.cfg.Server.Name)
	}
	if err != nil {
		got := status.Convert(err)
		return &weftv1.MembersAskResponse{Code: uint32(got.Code()), Message: got.Message()}, nil
	}
	return &weftv1.MembersAskResponse{Response: response}, nil
}
