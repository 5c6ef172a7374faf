package store_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

func TestFenced(t *testing.T) {
	m := storetest.New()
	old := store.Fenced(m, set(t, m, "+"+store.Fence+"=e1"))
	set(t, old, "+/a=1")
	if _, err := old.Commit(t.Context(), store.Txn{If: []store.Cond{{Key: "/a"}}, Then: []store.Write{{Key: "/a"}}}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a race in its own epoch: %v", err)
	}
	now := set(t, m, "+"+store.Fence+"=e2")
	for _, txn := range []store.Txn{
		{Then: []store.Write{{Key: "/a"}}},
		{If: []store.Cond{{Key: "/b"}}, Then: []store.Write{{Key: "/b", Value: []byte("1")}}},
	} {
		if _, err := old.Commit(t.Context(), txn); !errors.Is(err, store.ErrFenced) {
			t.Errorf("the old epoch wrote: %v", err)
		}
	}
	if e, err := old.Get(t.Context(), "/a"); err != nil || string(e.Value) != "1" {
		t.Error(e, err)
	}
	set(t, store.Fenced(m, now), "+/a=2")
	m.Down()
	if _, err := old.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: "/a"}}}); !errors.Is(err, storetest.ErrDown) {
		t.Error(err)
	}
}

// Nobody who follows the intent sees anything of a restore, whether its watch
// tells of it or, after an outage, only a list.
func TestCacheHaltsAtTheFence(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := storetest.New()
			fence := set(t, m, "+"+store.Fence+"=e1 +"+store.Intent+"a=1")
			c := store.NewCache(m, store.Intent)
			c.HaltAt(fence)
			var f follower
			f.start(first(c.Subscribe(f.take)))
			done := make(chan error, 1)
			go func() { done <- c.Run(t.Context()) }()
			synctest.Wait()
			set(t, m, "+"+store.Intent+"b=1")
			synctest.Wait()
			f.log = nil
			if compacted {
				m.Inject(storetest.Fault{Read: func(string) error { return storetest.ErrDown }})
				<-done
				m.Inject(storetest.Fault{})
			}
			set(t, m, "+"+store.Fence+"=restoring")
			set(t, m, "-"+store.Intent+"a")
			set(t, m, "+"+store.Fence+"=e2")
			if compacted {
				if err := m.Compact(t.Context(), m.Revision()); err != nil {
					t.Fatal(err)
				}
				go func() { done <- c.Run(t.Context()) }()
			}
			if err := <-done; !errors.Is(err, store.ErrFenced) || len(f.log) > 0 {
				t.Errorf("compacted %v: %v, saw %v", compacted, err, f.log)
			}
		})
	}
}
