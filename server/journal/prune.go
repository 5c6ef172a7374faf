package journal

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
)

// What is kept.
const (
	KeepEvents  = 7 * 24 * time.Hour
	KeepActs    = 90 * 24 * time.Hour
	MostEvents  = 20_000
	MostActs    = 50_000
	pruneEvery  = time.Hour
	pruneAtOnce = store.MaxOps
)

// Keep prunes at once and every hour until ctx ends. One server does.
func (j *Journal) Keep(ctx context.Context) error {
	every := time.NewTicker(pruneEvery)
	defer every.Stop()
	for {
		if err := j.Prune(ctx, time.Now()); err != nil && ctx.Err() == nil {
			j.cfg.Log.Warn("journal not pruned", note.Err, err, note.Retry, pruneEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// Prune takes away what is too old and too much.
func (j *Journal) Prune(ctx context.Context, now time.Time) error {
	if err := prune(ctx, j.events, now.Add(-KeepEvents), MostEvents); err != nil {
		return err
	}
	return prune(ctx, j.acts, now.Add(-KeepActs), MostActs)
}

// prune deletes pages written before a time, and the oldest of more than most
// items.
func prune[T any](ctx context.Context, b *book[T], before time.Time, most int) error {
	entries, _, err := b.store.List(ctx, b.prefix)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	all := func(T) bool { return true }
	var gone []store.Write
	for _, e := range slices.Backward(entries) {
		most -= max(len(pick(e, all)), 1)
		if most < 0 || written(b.prefix, e.Key).Before(before) {
			gone = append(gone, store.Write{Key: e.Key})
		}
	}
	for part := range slices.Chunk(gone, pruneAtOnce) {
		if _, err := b.store.Commit(ctx, store.Txn{Then: part}); err != nil {
			return fmt.Errorf("journal: prune %s: %w", b.prefix, err)
		}
	}
	return nil
}

// written is when a page was, by its key; the zero time for a key that says
// nothing.
func written(prefix, key string) time.Time {
	seconds, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), ".")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(n, 0)
}
