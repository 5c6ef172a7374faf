package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"pgregory.net/rapid"
)

// follower keeps what a subscriber learns, and says if that cannot be.
type follower struct {
	entries  map[string]string
	revision int64
	log      []string
	err      error
}

func (f *follower) start(entries []store.Entry, revision int64) {
	f.entries, f.revision = map[string]string{}, revision
	for _, e := range entries {
		f.entries[e.Key] = string(e.Value)
	}
}

func (f *follower) take(b store.Batch) {
	if b.Revision <= f.revision {
		f.err = errors.Join(f.err, fmt.Errorf("batch of revision %d after %d", b.Revision, f.revision))
	}
	f.revision = b.Revision
	for _, e := range b.Events {
		if e.Value == nil {
			if _, ok := f.entries[e.Key]; !ok {
				f.err = errors.Join(f.err, fmt.Errorf("%s was deleted and never there", e.Key))
			}
			delete(f.entries, e.Key)
			f.log = append(f.log, "-"+e.Key)
			continue
		}
		f.entries[e.Key] = string(e.Value)
		f.log = append(f.log, "+"+e.Key+"="+string(e.Value))
	}
}

// runs starts a cache in the background of a synctest bubble and ends it.
func runs(t *testing.T, c *store.Cache) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
}

func set(t testing.TB, s store.Store, words string) int64 {
	t.Helper()
	var txn store.Txn
	for _, w := range strings.Fields(words) {
		key, value, _ := strings.Cut(w[1:], "=")
		write := store.Write{Key: key}
		if w[0] == '+' {
			write.Value = []byte(value)
		}
		txn.Then = append(txn.Then, write)
	}
	r, err := s.Commit(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCacheFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		set(t, m, "+/p/a=1 +/q/a=1")
		c := store.NewCache(m, "/p/")
		var early, late follower
		early.start(first(c.Subscribe(early.take)))
		runs(t, c)
		if err := c.WaitRevision(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		late.start(first(c.Subscribe(late.take)))
		set(t, m, "+/q/b=1")
		r := set(t, m, "+/p/b=2 -/p/a")
		if err := c.WaitRevision(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := strings.Join(early.log, " "), "+/p/a=1 +/p/b=2 -/p/a"; got != want || early.err != nil {
			t.Errorf("early saw %s, %v", got, early.err)
		}
		if got, want := strings.Join(late.log, " "), "+/p/b=2 -/p/a"; got != want || late.err != nil {
			t.Errorf("late saw %s, %v", got, late.err)
		}
		if e, ok := c.Get("/p/b"); !ok || string(e.Value) != "2" {
			t.Errorf("got %v, %v", e, ok)
		}
	})
}

func first(entries []store.Entry, revision int64, _ func()) ([]store.Entry, int64) {
	return entries, revision
}

func TestCacheCancelsSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		c := store.NewCache(m, "/")
		var f follower
		f.start(nil, 0)
		_, _, cancel := c.Subscribe(f.take)
		runs(t, c)
		set(t, m, "+/a=1")
		synctest.Wait()
		cancel()
		set(t, m, "+/b=1")
		synctest.Wait()
		if got := strings.Join(f.log, " "); got != "+/a=1" {
			t.Errorf("saw %s", got)
		}
	})
}

func TestCacheListsAgainAfterCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		set(t, m, "+/p/keep=1 +/p/gone=1 +/p/changed=1")
		c := store.NewCache(m, "/p/")
		var f follower
		f.start(first(c.Subscribe(f.take)))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		synctest.Wait()
		cancel() // away, while the world goes on and history is lost
		<-ended
		f.log = nil
		set(t, m, "-/p/gone +/p/changed=2")
		if err := m.Compact(t.Context(), set(t, m, "+/p/new=1")); err != nil {
			t.Fatal(err)
		}
		runs(t, c)
		synctest.Wait()
		slices.Sort(f.log)
		if got, want := strings.Join(f.log, " "), "+/p/changed=2 +/p/new=1 -/p/gone"; got != want || f.err != nil {
			t.Errorf("saw %s, %v", got, f.err)
		}
	})
}

func TestCacheErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		m.Down()
		c := store.NewCache(m, "/")
		if err := c.Run(t.Context()); !errors.Is(err, storetest.ErrDown) {
			t.Errorf("want ErrDown, got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.WaitRevision(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("want Canceled, got %v", err)
		}
	})
}

// swap lets a cache see a store that was replaced by an older one.
type swap struct{ store.Store }

func TestCacheRefusesAStoreThatWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newer, older := storetest.New(), storetest.New()
		for range 5 {
			set(t, newer, "+/a=1")
		}
		s := &swap{newer}
		c := store.NewCache(s, "/")
		done := make(chan error, 1)
		go func() { done <- c.Run(t.Context()) }()
		synctest.Wait()
		s.Store = older
		newer.CutWatches(store.ErrCompacted)
		if err := <-done; !errors.Is(err, store.ErrWentBack) {
			t.Errorf("want ErrWentBack, got %v", err)
		}
		if list, _ := c.Snapshot(); len(list) != 1 {
			t.Errorf("the mirror lost what it had: %v", list)
		}
	})
}

// Whatever happens to the store and its watches, followers end with what is
// stored, and never see a deletion of what they were not told of.
func TestCacheProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			m := storetest.New()
			c := store.NewCache(m, "/p/")
			runs(t, c)
			followers := []*follower{}
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				step(rt, t, m, c, &followers)
			}
			synctest.Wait()
			want, _, err := m.List(t.Context(), "/p/")
			if err != nil {
				rt.Fatal(err)
			}
			for i, f := range followers {
				if f.err != nil || len(f.entries) != len(want) {
					rt.Fatalf("follower %d has %v, %v; stored is %v", i, f.entries, f.err, want)
				}
				for _, e := range want {
					if f.entries[e.Key] != string(e.Value) {
						rt.Fatalf("follower %d: %s is %s, stored is %s", i, e.Key, f.entries[e.Key], e.Value)
					}
				}
			}
		})
	})
}

func step(rt *rapid.T, t *testing.T, m *storetest.Memory, c *store.Cache, followers *[]*follower) {
	key := rapid.SampledFrom([]string{"/p/a", "/p/b", "/p/c", "/q/a"}).Draw(rt, "key")
	switch rapid.SampledFrom([]string{"set", "set", "delete", "subscribe", "cut", "compact", "wait"}).Draw(rt, "step") {
	case "set":
		set(t, m, fmt.Sprintf("+%s=%d", key, m.Revision()))
	case "delete":
		set(t, m, "-"+key)
	case "subscribe":
		f := &follower{}
		// Started under the cache's lock by Subscribe's contract, not by luck.
		started := make(chan struct{})
		entries, revision, _ := c.Subscribe(func(b store.Batch) { <-started; f.take(b) })
		f.start(entries, revision)
		close(started)
		*followers = append(*followers, f)
	case "cut":
		m.CutWatches(store.ErrCompacted)
	case "compact":
		_ = m.Compact(t.Context(), m.Revision())
	case "wait":
		synctest.Wait()
	}
}
