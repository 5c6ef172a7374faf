package storetest

import (
	"context"
	"slices"
	"strings"

	"github.com/weft-net/weft/server/store"
)

// Snapshot answers as store/etcd does, in pages of a few entries.
func (m *Memory) Snapshot(ctx context.Context, prefix string, skip []string, fn func([]store.Entry, int64) error) error {
	entries, revision, err := m.List(ctx, prefix)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e store.Entry) bool {
		return slices.ContainsFunc(skip, func(s string) bool { return strings.HasPrefix(e.Key, s) })
	})
	for page := range slices.Chunk(entries, 3) {
		if err := fn(page, revision); err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		return fn(nil, revision)
	}
	return nil
}
