package audit

import (
	"context"
	"strings"
	"time"

	"github.com/weft-net/weft/server/journal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Header is set on the answer to a write whose record is not stored yet; of a stream
// it is a trailer.
const Header = "weft-audit"

// patience is how long an answer waits for its record.
const patience = 2 * time.Second

// Book takes the records: journal.Journal.
type Book interface {
	Record(ctx context.Context, a journal.Act) error
	Deny(a journal.Act)
	Blocked() error
}

// Caller is who calls, by the certificate.
type Caller struct {
	User, Role, Serial string
}

// Config makes a Trail.
type Config struct {
	Book     Book
	Caller   func(ctx context.Context) Caller // zero: nobody that is known
	Revision func() int64                     // of the fabric
}

// Trail is the interceptors.
type Trail struct{ Config }

// New returns a Trail.
func New(c Config) *Trail { return &Trail{c} }

// Unary writes down calls with one answer.
func (t *Trail) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	m, _ := request.(proto.Message)
	if !writes(info.FullMethod) || dry(m) {
		return handler(ctx, request)
	}
	act, m, forAnother := handed(t.begin(ctx, info.FullMethod), m)
	if err := t.Book.Blocked(); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	answer, err := handler(ctx, request)
	act.Objects = objects(info.FullMethod, m)
	if a, ok := answer.(proto.Message); ok && err == nil {
		if recordedBy(a) != "" {
			return answer, nil
		}
		act.After = revision(a)
		act.Objects = joined(act.Objects, made(info.FullMethod, a))
	}
	if forAnother && undone(status.Code(err)) {
		return answer, err // the server that was asked writes that down
	}
	if late := t.end(ctx, act, err); late {
		_ = grpc.SetHeader(ctx, lateText(err))
	}
	return answer, err
}

// Stream writes down streams that write, when they end.
func (t *Trail) Stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !writes(info.FullMethod) {
		return handler(server, stream)
	}
	act := t.begin(stream.Context(), info.FullMethod)
	if err := t.Book.Blocked(); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	seen := &overheard{ServerStream: stream, method: info.FullMethod}
	err := handler(server, seen)
	objects, dry := seen.told()
	if dry {
		return err
	}
	act.Objects = objects
	if late := t.end(stream.Context(), act, err); late {
		stream.SetTrailer(lateText(err))
	}
	return err
}

func lateText(err error) metadata.MD {
	if err != nil {
		return metadata.Pairs(Header, "what became of it is not stored in the audit yet")
	}
	return metadata.Pairs(Header, "done, but its record in the audit is not stored yet")
}

func (t *Trail) begin(ctx context.Context, method string) journal.Act {
	who := t.Caller(ctx)
	act := journal.Act{
		At: time.Now(), User: who.User, Role: who.Role, Serial: who.Serial,
		Method: strings.TrimPrefix(method, "/"), Verb: verb(method), Before: t.Revision(),
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		act.From = p.Addr.String()
	}
	return act
}

// end stores what became of a call. It answers true when an act that may have
// changed something is not stored.
func (t *Trail) end(ctx context.Context, act journal.Act, err error) (late bool) {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	code := s.Code()
	act.Outcome, act.Message = code.String(), s.Message()
	if code == codes.Canceled && ctx.Err() != nil {
		act.Message = "the caller went away before it was answered"
	}
	if undone(code) {
		act.From = host(act.From) // its port would make each knock another
		t.Book.Deny(act)
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return t.Book.Record(ctx, act) != nil
}

// undone tells whether an outcome says that nothing was done.
func undone(code codes.Code) bool {
	switch code {
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented, codes.InvalidArgument,
		codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition:
		return true
	}
	return false
}
