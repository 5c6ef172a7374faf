package journal

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// Store is where pages are kept.
type Store interface {
	List(ctx context.Context, prefix string) ([]store.Entry, int64, error)
	Commit(ctx context.Context, txn store.Txn) (int64, error)
	Watch(ctx context.Context, prefix string, after int64, fn func(store.Batch) error) error
}

// Bounds on one page, and on the pauses after a failure to write one.
const (
	maxItems   = 1000
	retryFirst = time.Second
	retryLast  = 30 * time.Second
)

// page is what one write appends.
type page[T any] struct {
	Schema int    `json:"schema"`
	Server string `json:"server,omitempty"`
	Items  []T    `json:"items"`
}

// book is one list of pages: what waits to be written, and the way to read it.
type book[T any] struct {
	store  Store
	prefix string
	server string
	most   int // items that may wait
	tail   string

	wake chan struct{} // room for one

	mu      sync.Mutex
	waiting []item[T]
	due     time.Time // when the next page is to be written; zero: nothing waits
	lost    int       // items that did not fit, ever
	pages   int       // written or tried, ever

	writing sync.Mutex // held while a page is written
	unsure  *draft[T]  // of which nobody knows whether it was written
}

type item[T any] struct {
	value  T
	stored chan struct{} // closed when it is; nil: nobody waits
}

// draft is a page with its key, so that a write whose answer was lost is not
// written twice.
type draft[T any] struct {
	key   string
	items []item[T]
}

func newBook[T any](s Store, prefix, server string, most int) *book[T] {
	b := make([]byte, 5)
	_, _ = rand.Read(b) // never fails
	return &book[T]{store: s, prefix: prefix, server: server, most: most, tail: hex.EncodeToString(b), wake: make(chan struct{}, 1)}
}

// add queues an item, to be written within a delay. It answers false when there
// is no room.
func (b *book[T]) add(it item[T], within time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) >= b.most {
		b.lost++
		return false
	}
	b.waiting = append(b.waiting, it)
	if due := time.Now().Add(within); b.due.IsZero() || due.Before(b.due) {
		b.due = due
		b.rouse()
	}
	return true
}

func (b *book[T]) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// counts are how many items wait and were lost.
func (b *book[T]) counts() (waiting, lost int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting), b.lost
}

// run writes pages as they are due, at most one an interval, until ctx ends.
func (b *book[T]) run(ctx context.Context, every time.Duration, failed func(error, time.Duration)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var earliest time.Time // of the next page
	var pause time.Duration
	for {
		b.mu.Lock()
		due := b.due
		b.mu.Unlock()
		timer.Stop()
		if !due.IsZero() {
			if due.Before(earliest) {
				due = earliest
			}
			timer.Reset(time.Until(due))
		}
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
			continue
		case <-timer.C:
		}
		err := b.write(ctx)
		switch {
		case err == nil:
			pause, earliest = 0, time.Now().Add(every)
		case ctx.Err() == nil:
			pause = min(max(2*pause, retryFirst), retryLast)
			earliest = time.Now().Add(pause)
			failed(err, pause)
		}
	}
}

// write appends one page of what waits.
func (b *book[T]) write(ctx context.Context) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	d := b.draft()
	if d == nil {
		return nil
	}
	values := make([]T, len(d.items))
	for i, it := range d.items {
		values[i] = it.value
	}
	raw, err := json.Marshal(page[T]{Schema: schema.Journal.Version(), Server: b.server, Items: values})
	if err == nil {
		_, err = b.store.Commit(ctx, store.Txn{If: []store.Cond{{Key: d.key}}, Then: []store.Write{{Key: d.key, Value: raw}}})
	}
	// A conflict at a second try is our own write whose answer was lost.
	if again := d == b.unsure; err != nil && !(again && errors.Is(err, store.ErrConflict)) {
		if b.unsure = d; errors.Is(err, store.ErrConflict) {
			b.unsure = nil // somebody has the key: take another
		}
		return fmt.Errorf("journal: page of %d at %s: %w", len(d.items), b.prefix, err)
	}
	b.unsure = nil
	for _, it := range d.items {
		if it.stored != nil {
			close(it.stored)
		}
	}
	b.taken(len(d.items))
	return nil
}

// draft is the page to write next; nil if nothing waits. It stays among what
// waits until it is stored.
func (b *book[T]) draft() *draft[T] {
	if b.unsure != nil {
		return b.unsure
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), maxItems)
	if n == 0 {
		b.due = time.Time{}
		return nil
	}
	now := time.Now()
	b.pages++
	return &draft[T]{
		key:   fmt.Sprintf("%s%010d.%09d-%s%d", b.prefix, now.Unix(), now.Nanosecond(), b.tail, b.pages),
		items: append([]item[T](nil), b.waiting[:n]...),
	}
}

func (b *book[T]) taken(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append([]item[T](nil), b.waiting[n:]...)
	b.due = time.Time{}
	if len(b.waiting) > 0 {
		b.due = time.Now()
		b.rouse()
	}
}

// flush writes all that waits, until ctx ends or a write fails.
func (b *book[T]) flush(ctx context.Context) error {
	for {
		if n, _ := b.counts(); n == 0 {
			return nil
		}
		if err := cmp.Or(ctx.Err(), b.write(ctx)); err != nil {
			return err
		}
	}
}
