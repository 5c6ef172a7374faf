package admin

import (
	"context"
	"errors"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Journal is what happened, and who wrote what: journal.Journal.
type Journal interface {
	Note(e journal.Event)
	Events(ctx context.Context, f journal.Filter) ([]journal.Happening, int64, error)
	Acts(ctx context.Context, f journal.Filter) ([]journal.Act, error)
	WatchEvents(ctx context.Context, after int64, f journal.Filter, fn func([]journal.Happening, int64) error) error
}

// List implements weftv1.EventsServer.
func (s *events) List(ctx context.Context, r *weftv1.EventsListRequest) (*weftv1.EventsListResponse, error) {
	list, rev, err := s.Journal.Events(ctx, journal.Filter{
		Since: unix(r.GetSinceUnix()), Object: r.GetObject(), User: r.GetUser(), Limit: int(min(r.GetLimit(), journal.MaxList)),
	})
	if err != nil {
		return nil, answer(err)
	}
	return &weftv1.EventsListResponse{Events: wireEvents(list), Revision: rev}, nil
}

// Watch implements weftv1.EventsServer.
func (s *events) Watch(r *weftv1.EventsWatchRequest, stream grpc.ServerStreamingServer[weftv1.EventsWatchResponse]) error {
	f := journal.Filter{Since: unix(r.GetSinceUnix()), Object: r.GetObject()}
	if r.GetSinceUnix() < 0 {
		f.Since = s.Now()
	}
	send := func(list []journal.Happening, rev int64) error {
		return stream.Send(&weftv1.EventsWatchResponse{Events: wireEvents(list), Revision: rev})
	}
	after := r.GetAfterRevision()
	if after == 0 {
		list, rev, err := s.Journal.Events(stream.Context(), f)
		if err != nil {
			return answer(err)
		}
		if err := send(list, rev); err != nil { // also an empty one: the caller learns the revision
			return err
		}
		after = rev
	}
	err := s.Journal.WatchEvents(stream.Context(), after, f, send)
	if errors.Is(err, store.ErrCompacted) {
		return status.Error(codes.Aborted, "history was compacted meanwhile; watch again without after_revision")
	}
	return answer(err)
}

// List implements weftv1.AuditServer.
func (s *audit) List(ctx context.Context, r *weftv1.AuditListRequest) (*weftv1.AuditListResponse, error) {
	list, err := s.Journal.Acts(ctx, journal.Filter{
		Since: unix(r.GetSinceUnix()), Object: r.GetObject(), User: r.GetUser(), Limit: int(min(r.GetLimit(), journal.MaxList)),
	})
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.AuditListResponse{}
	for _, a := range list {
		out.Records = append(out.Records, &weftv1.AuditRecord{
			AtUnixMilli: a.At.UnixMilli(), User: a.User, Role: a.Role, Serial: a.Serial, From: a.From, Method: a.Method, Verb: a.Verb,
			Objects: a.Objects, RevisionBefore: a.Before, RevisionAfter: a.After, Outcome: a.Outcome, Message: a.Message, Count: uint32(max(a.Count, 1)),
		})
	}
	return out, nil
}

func wireEvents(list []journal.Happening) []*weftv1.FabricEvent {
	out := make([]*weftv1.FabricEvent, 0, len(list))
	for _, h := range list {
		out = append(out, &weftv1.FabricEvent{
			Type: h.Kind, Object: h.Object, Reason: h.Reason, Message: h.Message, Actor: h.Actor, Server: h.Server,
			FirstUnixMilli: h.First.UnixMilli(), LastUnixMilli: h.Last.UnixMilli(), Count: uint32(max(h.Count, 1)),
		})
	}
	return out
}

// unix is a time of a request; 0 is any.
func unix(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
