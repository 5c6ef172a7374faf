package server

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// silence is since when the store answers nobody, and what tells when that changes.
func (r *rooms) silence() (time.Time, <-chan struct{}) {
	changed := r.room.Changed()
	s, _ := r.room.Silence()
	return s.Since, changed
}

// remembered is what this server knows of nodes without the store.
func (r *rooms) remembered() []store.Entry {
	intent, _ := r.mirror.Snapshot()
	seen, _ := r.seen.Snapshot()
	return slices.Concat(intent, seen)
}

// quickWithin is what a question to a store that answers nobody may take.
const quickWithin = 500 * time.Millisecond

// quick answers people soon while the store answers nobody, and says why.
type quick struct {
	room   *members.Room
	server string // name of this one
}

// MemoryHeader is on an answer that was given while the store answers nobody: since
// when, in seconds since 1970, and the name of the server that remembers.
const MemoryHeader = "weft-memory"

func fromMemory(since time.Time, server string) metadata.MD {
	return metadata.Pairs(MemoryHeader, strconv.FormatInt(since.Unix(), 10)+" "+server)
}

// unhurried are the services of agents and servers, who wait and come again;
// patient are questions to a node's agent, which need time and no store; asking are those
// of them that tell what is remembered where nobody answers.
var (
	unhurried = []string{"/weft.v1.Join/", "/weft.v1.NodeSync/", "/weft.v1.Members/", "/grpc."}
	patient   = []string{"/weft.v1.Diagnose/", "/weft.v1.Nodes/GetKernel", "/weft.v1.Nodes/GetDrift", "/weft.v1.Nodes/Probe"}
	asking    = []string{"/weft.v1.Mesh/Matrix", "/weft.v1.Mesh/ExplainPath"}
)

// Unary is the interceptor, for calls that were let in.
func (q quick) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	is := func(prefix string) bool { return strings.HasPrefix(info.FullMethod, prefix) }
	if slices.ContainsFunc(unhurried, is) {
		return handler(ctx, request)
	}
	within := ctx
	if _, silent := q.room.Silence(); silent && !slices.ContainsFunc(patient, is) && !slices.ContainsFunc(asking, is) {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, quickWithin)
		defer cancel()
	}
	answer, err := handler(within, request)
	if s, silent := q.room.Silence(); err == nil && silent && !slices.ContainsFunc(patient, is) {
		_ = grpc.SetHeader(ctx, fromMemory(s.Since, q.server))
	}
	if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
		return answer, err
	}
	why, silent := q.room.Silent()
	if !silent {
		return answer, err
	}
	return nil, status.Errorf(codes.Unavailable, "%s; %s", why.Cause, why.Remedy)
}
