package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mirror brings a batch into the entries.
func (c *Cache) mirror(b Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range b.Events {
		if e.Value == nil {
			delete(c.entries, e.Key)
			continue
		}
		c.entries[e.Key] = e.Entry
	}
	if b.Revision > c.revision {
		c.revision = b.Revision
		close(c.moved)
		c.moved = make(chan struct{})
	}
}

// Subscribe answers with everything mirrored now and calls fn with every later
// batch that holds events, in order, none left out. Before the first list it
// answers with nothing and revision 0, and the list is the first batch.
//
// fn runs in Run's goroutine: it must be quick, must not call Subscribe or
// cancel, and must not change what it is given. When cancel returns, fn has
// returned and is not called again.
func (c *Cache) Subscribe(fn func(Batch)) (entries []Entry, revision int64, cancel func()) {
	c.delivery.Lock()
	defer c.delivery.Unlock()
	id := c.next
	c.next++
	c.subscribers[id] = fn
	entries, revision = c.Snapshot()
	return entries, revision, func() {
		c.delivery.Lock()
		defer c.delivery.Unlock()
		delete(c.subscribers, id)
	}
}

// Snapshot answers with everything mirrored, sorted by key, and the revision up
// to which that is everything; 0 before the first list.
func (c *Cache) Snapshot() ([]Entry, int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	entries := slices.Collect(maps.Values(c.entries))
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, c.revision
}

// Get answers with one entry, as mirrored.
func (c *Cache) Get(key string) (Entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.entries[key]
	return e, ok
}

// Revision is that up to which everything is mirrored; 0 before the first list.
func (c *Cache) Revision() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

// WaitRevision returns when everything up to a revision is mirrored: one that a
// Commit below the prefix answered, or 1 for the first list. Subscribers may see
// it a moment later. Another revision may come only with the store's next
// progress message.
func (c *Cache) WaitRevision(ctx context.Context, revision int64) error {
	for {
		c.mu.RLock()
		now, moved := c.revision, c.moved
		c.mu.RUnlock()
		if now >= revision {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("store: mirror of %s is at revision %d, waiting for %d: %w", c.prefix, now, revision, ctx.Err())
		}
	}
}
