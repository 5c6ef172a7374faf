package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Cache mirrors a prefix over one watch and tells subscribers what changes.
//
// It owns no goroutine: Run does everything in its caller's, the callbacks of
// subscribers included. All methods may be called from any goroutine.
type Cache struct {
	store  Store
	prefix string
	fence  int64 // revision of Fence that all of it belongs to; 0 without one

	// delivery is held while a change goes from the mirror to all subscribers, and
	// by Subscribe: a subscriber sees each change once, in order, or in the
	// snapshot that it began with. It is taken before mu.
	delivery    sync.Mutex
	subscribers map[int]func(Batch)
	next        int

	mu       sync.RWMutex
	entries  map[string]Entry
	revision int64         // everything up to here is in entries; 0 before the first list
	moved    chan struct{} // closed when revision moves
}

// NewCache returns an empty mirror of what is below a prefix. Run fills it.
func NewCache(s Store, prefix string) *Cache {
	return &Cache{
		store: s, prefix: prefix,
		subscribers: map[int]func(Batch){},
		entries:     map[string]Entry{},
		moved:       make(chan struct{}),
	}
}

// HaltAt makes Run answer ErrFenced, and take in nothing more, as soon as Fence
// stands at another revision. It is called before Run, on a mirror that holds
// Fence.
func (c *Cache) HaltAt(revision int64) { c.fence = revision }

// Run mirrors until ctx ends or the store fails, and returns that error. The
// mirror stays as it was: whoever calls Run again, after a pause, goes on from
// there. ErrCompacted never comes out: Run lists again, for as long as that takes,
// and tells the difference, so that nobody sees a deletion of what is merely not
// listed yet.
func (c *Cache) Run(ctx context.Context) error {
	if c.Revision() == 0 {
		if err := c.list(ctx); err != nil {
			return err
		}
	}
	for {
		err := c.store.Watch(ctx, c.prefix, c.Revision(), c.take)
		if !errors.Is(err, ErrCompacted) {
			return fmt.Errorf("store: mirror of %s: %w", c.prefix, err)
		}
		if err := c.relist(ctx); err != nil {
			return err
		}
	}
}

// relistPause lies between two tries to list again.
const relistPause = time.Second

// relist lists until it succeeds: the store was there before, and will be again.
func (c *Cache) relist(ctx context.Context) error {
	for {
		err := c.list(ctx)
		if err == nil || errors.Is(err, ErrWentBack) || errors.Is(err, ErrFenced) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", ctx.Err(), err)
		case <-time.After(relistPause):
		}
	}
}

// list reads everything and takes the difference as one batch, as of the list's
// revision. A deletion that history no longer tells carries that revision.
func (c *Cache) list(ctx context.Context) error {
	entries, revision, err := c.store.List(ctx, c.prefix)
	if err != nil {
		return fmt.Errorf("store: list %s: %w", c.prefix, err)
	}
	if revision < c.Revision() {
		return fmt.Errorf("store: list %s: %w: at revision %d, after %d was seen; was it restored from a backup?",
			c.prefix, ErrWentBack, revision, c.Revision())
	}
	return c.take(Batch{Events: c.difference(entries, revision), Revision: revision})
}

// ErrWentBack is what Cache.Run answers when the store is behind what the cache
// has seen: another store, or one restored from a backup. Only a new cache, and a
// new epoch, can go on from there.
var ErrWentBack = errors.New("the store went back")

func (c *Cache) difference(entries []Entry, revision int64) []Event {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var events []Event
	listed := make(map[string]bool, len(entries))
	for _, e := range entries {
		listed[e.Key] = true
		if c.entries[e.Key].Revision != e.Revision {
			events = append(events, Event{e})
		}
	}
	for key := range c.entries {
		if !listed[key] {
			events = append(events, Event{Entry{Key: key, Revision: revision}})
		}
	}
	slices.SortFunc(events, func(a, b Event) int {
		if a.Revision != b.Revision {
			return int(a.Revision - b.Revision)
		}
		return strings.Compare(a.Key, b.Key)
	})
	return events
}

// take brings a batch into the mirror, then to the subscribers.
func (c *Cache) take(b Batch) error {
	if c.fence != 0 && slices.ContainsFunc(b.Events, func(e Event) bool { return e.Key == Fence && e.Revision != c.fence }) {
		return ErrFenced
	}
	c.delivery.Lock()
	defer c.delivery.Unlock()
	c.mirror(b)
	if len(b.Events) == 0 {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(c.subscribers)) {
		c.subscribers[id](b)
	}
	return nil
}
