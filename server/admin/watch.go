package admin

import (
	"context"
	"errors"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// maxBehind is how many changes a watcher may be behind.
const maxBehind = 4096

var errBehind = status.Errorf(codes.ResourceExhausted, "the watcher is more than %d changes behind: read faster, or watch again for what is now", maxBehind)

// Watch implements weftv1.ResourcesServer.
func (s *resources) Watch(r *weftv1.WatchRequest, stream grpc.ServerStreamingServer[weftv1.WatchResponse]) error {
	pick, err := newSelection(r.GetKind(), r.GetNamespace(), r.GetSelector())
	if err != nil {
		return err
	}
	prefixes := parts[pick.kind.Name]
	v, revisions, err := s.read(stream.Context(), prefixes)
	if err != nil {
		return answer(err)
	}
	w := &watcher{
		Server: s.Server, selection: pick, view: v, send: stream.Send, sent: map[ref]*weftv1.Resource{},
		ignore: []string{"heardUnix", "appliedRevision", "inStep"},
	}
	if r.GetProgress() {
		w.ignore = w.ignore[:1]
	}
	if err := w.existing(slices.Min(revisions)); err != nil {
		return answer(err)
	}
	group, ctx := errgroup.WithContext(stream.Context())
	events := make(chan store.Event, maxBehind)
	for i, p := range prefixes {
		group.Go(func() error { return s.follow(ctx, p, revisions[i], events) })
	}
	group.Go(func() error { return w.run(ctx, events) })
	err = group.Wait()
	if errors.Is(err, store.ErrCompacted) {
		return status.Error(codes.Aborted, "history was compacted meanwhile; watch again")
	}
	return answer(err)
}

// follow brings the events below one prefix to the watcher. It never waits for it.
func (s *Server) follow(ctx context.Context, prefix string, after int64, events chan<- store.Event) error {
	return s.Store.Watch(ctx, prefix, after, func(b store.Batch) error {
		for _, e := range b.Events {
			select {
			case events <- e:
			default:
				return errBehind
			}
		}
		return nil
	})
}

// watcher tells one caller what changes.
type watcher struct {
	*Server
	selection
	view   *view
	send   func(*weftv1.WatchResponse) error
	sent   map[ref]*weftv1.Resource // as it was last sent
	ignore []string                 // fields of a node's status whose change is none
}

func (w *watcher) existing(revision int64) error {
	items, err := w.items(w.view, w.kind.Name)
	if err != nil {
		return err
	}
	for _, item := range items {
		if !w.has(item) {
			continue
		}
		w.sent[refOf(item)] = item
		if err := w.send(&weftv1.WatchResponse{Item: item, Verb: "existing", Revision: revision}); err != nil {
			return err
		}
	}
	return w.send(&weftv1.WatchResponse{Verb: "synced", Revision: revision})
}

func refOf(item *weftv1.Resource) ref {
	return ref{item.GetKind(), item.GetMetadata().GetNamespace(), item.GetMetadata().GetName()}
}

func (w *watcher) run(ctx context.Context, events <-chan store.Event) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-events:
			for _, r := range w.view.take(e.Entry) {
				if err := w.tell(r, e.Revision); err != nil {
					return err
				}
			}
		}
	}
}

// tell sends an object if it is other than it was.
func (w *watcher) tell(r ref, revision int64) error {
	if r.kind != w.kind.Name {
		return nil
	}
	item, err := w.item(w.view, r)
	if err != nil {
		return err
	}
	if item != nil && refOf(item) != r || item != nil && !w.has(item) {
		item = nil
	}
	before, known := w.sent[r]
	switch {
	case item == nil && !known:
		return nil
	case item == nil:
		delete(w.sent, r)
		return w.send(&weftv1.WatchResponse{Item: before, Verb: "deleted", Revision: revision})
	case known && w.same(before, item):
		return nil
	}
	w.sent[r] = item
	verb := "created"
	if known {
		verb = "configured"
	}
	return w.send(&weftv1.WatchResponse{Item: item, Verb: verb, Revision: revision})
}

// same tells whether two states of an object are the same to who watches: that a
// node was heard again is no change.
func (w *watcher) same(a, b *weftv1.Resource) bool {
	if a.GetKind() == kind.Node {
		a, b = proto.CloneOf(a), proto.CloneOf(b)
		for _, field := range w.ignore {
			delete(a.GetStatus().GetFields(), field)
			delete(b.GetStatus().GetFields(), field)
		}
	}
	return proto.Equal(a, b)
}
