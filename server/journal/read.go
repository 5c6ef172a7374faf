package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// MaxList is how many records one answer holds at most: the newest.
const MaxList = 10_000

// Filter picks events or acts. Zero fields pick all.
type Filter struct {
	Since  time.Time
	Object string // Node/n1, in any case; Node: all of the kind
	User   string // of acts; of events, the actor's name
	Limit  int    // the newest so many; 0: MaxList
}

func (f Filter) limit() int {
	if f.Limit <= 0 || f.Limit > MaxList {
		return MaxList
	}
	return f.Limit
}

// names tells whether an object is one that the filter asks for.
func (f Filter) names(object string) bool {
	if f.Object == "" || strings.EqualFold(f.Object, object) {
		return true
	}
	k, _, ok := strings.Cut(object, "/")
	return ok && strings.EqualFold(f.Object, k)
}

func (f Filter) event(h Happening) bool {
	_, actor, named := strings.Cut(h.Actor, " ")
	return !h.Last.Before(f.Since) && f.names(h.Object) && (f.User == "" || f.User == h.Actor || named && f.User == actor)
}

func (f Filter) act(a Act) bool {
	return !a.At.Before(f.Since) && (f.User == "" || f.User == a.User) && (f.Object == "" || slices.ContainsFunc(a.Objects, f.names))
}

// Events lists events, the oldest first, and the revision of the store as of
// which they are all.
func (j *Journal) Events(ctx context.Context, f Filter) ([]Happening, int64, error) {
	list, revision, err := read(ctx, j.events, f.Since, f.event, f.limit())
	slices.SortStableFunc(list, func(a, b Happening) int { return a.Last.Compare(b.Last) })
	return list, revision, err
}

// Acts lists the audit, the oldest first.
func (j *Journal) Acts(ctx context.Context, f Filter) ([]Act, error) {
	list, _, err := read(ctx, j.acts, f.Since, f.act, f.limit())
	slices.SortStableFunc(list, func(a, b Act) int { return a.At.Compare(b.At) })
	return list, err
}

// WatchEvents calls fn with the events that are stored after a revision, page by
// page, until ctx ends, fn fails, or history is gone (store.ErrCompacted).
func (j *Journal) WatchEvents(ctx context.Context, after int64, f Filter, fn func([]Happening, int64) error) error {
	return j.cfg.Store.Watch(ctx, Events, after, func(b store.Batch) error {
		var list []Happening
		for _, e := range b.Events {
			list = append(list, pick(e.Entry, f.event)...)
		}
		if len(list) == 0 {
			return nil
		}
		return fn(list, b.Revision)
	})
}

func read[T any](ctx context.Context, b *book[T], since time.Time, keep func(T) bool, limit int) ([]T, int64, error) {
	var out []T
	var revision int64
	for _, prefix := range prefixes(b.prefix, since, time.Now()) {
		entries, rev, err := b.store.List(ctx, prefix)
		if err != nil {
			return nil, 0, fmt.Errorf("journal: %w", err)
		}
		if revision == 0 {
			revision = rev // the earliest: what comes after is watched for
		}
		for _, e := range entries {
			out = append(out, pick(e, keep)...)
		}
	}
	if len(out) > limit {
		out = slices.Clone(out[len(out)-limit:])
	}
	return out, revision, nil
}

// pick reads a page; one that cannot be read holds nothing.
func pick[T any](e store.Entry, keep func(T) bool) []T {
	var p page[T]
	if e.Value == nil || json.Unmarshal(e.Value, &p) != nil || p.Schema > schema.Journal.Version() {
		return nil
	}
	return slices.DeleteFunc(p.Items, func(t T) bool { return !keep(t) })
}

// A page's key is when it was written: nothing on it is younger. Keys begin with
// ten digits of seconds, of which the first six are shared for bucket seconds.
const (
	digits     = 6
	bucket     = 10_000
	maxBuckets = 16 // lists at most, before all is listed at once
)

// prefixes are what to list for all pages written from since on.
func prefixes(prefix string, since, now time.Time) []string {
	first, last := max(since.Unix(), 0)/bucket, now.Unix()/bucket+1 // another server's clock may be ahead
	if since.IsZero() || last-first >= maxBuckets || last < first {
		return []string{prefix}
	}
	var out []string
	for i := first; i <= last; i++ {
		out = append(out, fmt.Sprintf("%s%0*d", prefix, digits, i))
	}
	return out
}
