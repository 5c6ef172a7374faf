package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/weft-net/weft/server/store"
)

// Memory is a store.Store in memory. Its zero value is not ready: call New.
type Memory struct {
	mu        sync.Mutex
	revision  int64
	compacted int64 // events before this revision are gone
	entries   map[string]store.Entry
	history   []store.Event // by revision; deletions have a nil Value
	moved     chan struct{} // closed at every change of what watchers look at
	cut       error         // what running watches end with
	cuts      int           // how often watches were cut
	fault     Fault
}

var _ store.Store = (*Memory)(nil)

// New returns an empty store at revision 1, as etcd starts.
func New() *Memory {
	return &Memory{revision: 1, entries: map[string]store.Entry{}, moved: make(chan struct{})}
}

// Get implements store.Store.
func (m *Memory) Get(ctx context.Context, key string) (store.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.reads(ctx, key); err != nil {
		return store.Entry{}, err
	}
	e, ok := m.entries[key]
	if !ok {
		return store.Entry{}, fmt.Errorf("storetest: %s: %w", key, store.ErrNotFound)
	}
	return e, nil
}

// List implements store.Store.
func (m *Memory) List(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.reads(ctx, prefix); err != nil {
		return nil, 0, err
	}
	var list []store.Entry
	for _, key := range m.below(prefix) {
		list = append(list, m.entries[key])
	}
	return list, m.revision, nil
}

// Commit implements store.Store.
func (m *Memory) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if err := txn.Check(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.writes(ctx, txn); err != nil {
		return 0, err
	}
	for _, c := range txn.If {
		if m.entries[c.Key].Revision != c.Revision {
			return 0, fmt.Errorf("storetest: %s: %w", c.Key, store.ErrConflict)
		}
	}
	m.apply(txn.Then)
	if m.fault.After != nil {
		if err := m.fault.After(txn); err != nil {
			return 0, err
		}
	}
	return m.revision, nil
}

// apply moves the revision only if something changes, as etcd does: deleting what
// is not there is no change.
func (m *Memory) apply(writes []store.Write) {
	next := m.revision + 1
	var events []store.Event
	for _, w := range writes {
		switch {
		case w.Value != nil:
			e := store.Entry{Key: w.Key, Value: bytes.Clone(w.Value), Revision: next, Created: next}
			if old, ok := m.entries[w.Key]; ok {
				e.Created = old.Created
			}
			m.entries[w.Key] = e
			events = append(events, store.Event{Entry: e})
		case w.Prefix:
			for _, key := range m.below(w.Key) {
				events = append(events, m.remove(key, next)...)
			}
		default:
			events = append(events, m.remove(w.Key, next)...)
		}
	}
	if len(events) == 0 {
		return
	}
	m.revision = next
	m.history = append(m.history, events...)
	m.wake()
}

func (m *Memory) remove(key string, revision int64) []store.Event {
	if _, ok := m.entries[key]; !ok {
		return nil
	}
	delete(m.entries, key)
	return []store.Event{{Entry: store.Entry{Key: key, Revision: revision}}}
}

// Revision is that of the last change.
func (m *Memory) Revision() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision
}

// Compact forgets the events before a revision. What is stored stays.
func (m *Memory) Compact(_ context.Context, revision int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision <= m.compacted || revision > m.revision {
		return fmt.Errorf("storetest: cannot compact at %d: compacted is %d, current is %d", revision, m.compacted, m.revision)
	}
	m.compacted = revision
	m.history = slices.DeleteFunc(m.history, func(e store.Event) bool { return e.Revision < revision })
	m.wake()
	return nil
}

// String prints what is stored, a line a key: "key @revision value". A value
// that is not printable is quoted.
func (m *Memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d\n", m.revision)
	for _, key := range m.below("") {
		e := m.entries[key]
		value := string(e.Value)
		if quoted := strconv.Quote(value); value == "" || strings.Contains(quoted, `\x`) || strings.Contains(value, "\n") {
			value = quoted
		}
		fmt.Fprintf(&b, "%s @%d %s\n", key, e.Revision, value)
	}
	return b.String()
}

func (m *Memory) below(prefix string) []string {
	keys := slices.Sorted(maps.Keys(m.entries))
	return slices.DeleteFunc(keys, func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

func (m *Memory) wake() {
	close(m.moved)
	m.moved = make(chan struct{})
}
