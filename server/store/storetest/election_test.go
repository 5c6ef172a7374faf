package storetest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/weft-net/weft/server/store"
)

func TestCampaign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		ctx, cancel := context.WithCancel(t.Context())
		var terms []store.Cond
		done := make(chan error, 2)
		for _, id := range []string{"a", "b"} {
			go func() {
				done <- m.Campaign(ctx, "x", id, func(ctx context.Context, fence store.Cond) error {
					terms = append(terms, fence)
					<-ctx.Done()
					return nil
				})
			}()
		}
		for want := 1; want <= 3; want++ {
			synctest.Wait()
			if len(terms) != want {
				t.Fatalf("want %d terms, got %v", want, terms)
			}
			if err := m.Depose(ctx, "x"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		fenced := store.Txn{If: terms[:1], Then: []store.Write{{Key: "/a", Value: []byte("x")}}}
		if _, err := m.Commit(ctx, fenced); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a deposed leader's write: %v", err)
		}
		cancel()
		for range 2 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}
