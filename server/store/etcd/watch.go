package etcd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Pauses between two tries to watch again.
const (
	minPause = 100 * time.Millisecond
	maxPause = 2 * time.Second
)

// errFunction marks the error of a watch's function, which ends the watch.
type errFunction struct{ error }

// Watch implements store.Store. A member without a leader is left (WithRequireLeader),
// and what passes is waited for: the watch then goes on where it was.
func (s *Store) Watch(ctx context.Context, prefix string, after int64, fn func(store.Batch) error) error {
	pause := minPause
	for {
		before := after
		err := s.watch(ctx, prefix, &after, fn)
		var ended errFunction
		switch {
		case errors.As(err, &ended):
			return ended.error
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, rpctypes.ErrCompacted):
			return fmt.Errorf("etcd: watch %s after %d: %w", prefix, after, store.ErrCompacted)
		case errors.Is(err, errClosed):
			return fmt.Errorf("etcd: watch %s: %w", prefix, err)
		}
		if after > before {
			pause = minPause
		}
		s.config.Log.Warn("watch interrupted", note.Path, prefix, note.Rev, after, note.Err, err, note.Retry, pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, maxPause)
	}
}

// watch is one life of a watch. after follows what fn has seen.
func (s *Store) watch(ctx context.Context, prefix string, after *int64, fn func(store.Batch) error) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	responses := s.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(*after+1),
		clientv3.WithProgressNotify(), clientv3.WithFragment())
	for {
		r, ok := receive(ctx, responses)
		if !ok {
			break
		}
		if err := r.Err(); err != nil {
			return err
		}
		batch, ok := batchOf(r)
		if !ok || batch.Revision <= *after {
			continue
		}
		if err := fn(batch); err != nil {
			return errFunction{err}
		}
		*after = batch.Revision
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.client.Ctx().Err() != nil:
		return errClosed
	}
	return errors.New("the stream ended")
}

// receive takes the next response, and answers false when there is none any more.
// The client closes its channel by asking the server, and an embedded one that
// gave up answers nothing.
func receive(ctx context.Context, responses clientv3.WatchChan) (clientv3.WatchResponse, bool) {
	select {
	case r, ok := <-responses:
		return r, ok
	case <-ctx.Done():
		return clientv3.WatchResponse{}, false
	}
}

// batchOf reads the events of a response. Its header may be ahead of what this
// watch was sent; only its last event, or a progress notice, says how far it is.
// etcd never splits a revision: the client puts fragments together.
func batchOf(r clientv3.WatchResponse) (store.Batch, bool) {
	if len(r.Events) == 0 {
		return store.Batch{Revision: r.Header.Revision}, r.IsProgressNotify()
	}
	batch := store.Batch{
		Events:   make([]store.Event, len(r.Events)),
		Revision: r.Events[len(r.Events)-1].Kv.ModRevision,
	}
	for i, e := range r.Events {
		if e.Type == clientv3.EventTypeDelete {
			batch.Events[i] = store.Event{Entry: store.Entry{Key: string(e.Kv.Key), Revision: e.Kv.ModRevision}}
			continue
		}
		batch.Events[i] = store.Event{Entry: entry(e.Kv)}
	}
	return batch, true
}
