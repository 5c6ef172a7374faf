package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/server/store"
)

// Watch implements store.Store. fn runs in the caller's goroutine, without any
// lock held: it may read and write the store.
func (m *Memory) Watch(ctx context.Context, prefix string, after int64, fn func(store.Batch) error) error {
	m.mu.Lock()
	cuts := m.cuts
	m.mu.Unlock()
	for {
		batch, moved, err := m.since(ctx, prefix, after, cuts)
		if err != nil {
			return err
		}
		if len(batch.Events) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-moved:
			}
			continue
		}
		if err := fn(batch); err != nil {
			return err
		}
		after = batch.Revision
	}
}

// since collects what happened below a prefix after a revision, and the channel
// that closes when there may be more.
func (m *Memory) since(ctx context.Context, prefix string, after int64, cuts int) (store.Batch, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cuts != cuts {
		return store.Batch{}, nil, m.cut
	}
	if err := m.reads(ctx, prefix); err != nil {
		return store.Batch{}, nil, err
	}
	if after+1 < m.compacted {
		return store.Batch{}, nil, fmt.Errorf("storetest: watch %s after %d: %w", prefix, after, store.ErrCompacted)
	}
	from, _ := slices.BinarySearchFunc(m.history, after+1, func(e store.Event, revision int64) int { return int(e.Revision - revision) })
	batch := store.Batch{Revision: after}
	for _, e := range m.history[from:] {
		if strings.HasPrefix(e.Key, prefix) {
			batch.Events = append(batch.Events, e)
			batch.Revision = e.Revision
		}
	}
	return batch, m.moved, nil
}
