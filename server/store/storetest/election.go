package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-net/weft/server/store"
)

const elections = store.Root + "election/"

var errLeft = errors.New("a candidate left")

// Campaign is that of store/etcd: it stands for an election until ctx ends, and
// calls lead with what fences a leader's writes. It owns one goroutine while lead
// runs. Depose ends an office.
func (m *Memory) Campaign(ctx context.Context, name, id string, lead func(ctx context.Context, fence store.Cond) error) error {
	key := elections + name
	for {
		revision, err := m.Commit(ctx, store.Txn{
			If:   []store.Cond{{Key: key}},
			Then: []store.Write{{Key: key, Value: []byte(id)}},
		})
		switch {
		case errors.Is(err, store.ErrConflict):
			if err := m.vacant(ctx, key, m.Revision()); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		err = m.office(ctx, store.Cond{Key: key, Revision: revision}, lead)
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// office runs lead until the key goes.
func (m *Memory) office(ctx context.Context, fence store.Cond, lead func(context.Context, store.Cond) error) error {
	term, cancel := context.WithCancel(ctx)
	deposed := make(chan bool, 1)
	go func() {
		err := m.vacant(term, fence.Key, fence.Revision)
		deposed <- err == nil
		cancel()
	}()
	err := lead(term, fence)
	cancel()
	if <-deposed {
		return nil
	}
	txn := store.Txn{If: []store.Cond{fence}, Then: []store.Write{{Key: fence.Key}}}
	if _, resign := m.Commit(context.WithoutCancel(ctx), txn); resign != nil && !errors.Is(resign, store.ErrConflict) {
		return errors.Join(err, resign)
	}
	return err
}

// vacant returns nil when the key is deleted after a revision.
func (m *Memory) vacant(ctx context.Context, key string, after int64) error {
	if _, err := m.Get(ctx, key); errors.Is(err, store.ErrNotFound) {
		return nil
	}
	err := m.Watch(ctx, key, after, func(b store.Batch) error {
		for _, e := range b.Events {
			if e.Key == key && e.Value == nil {
				return errLeft
			}
		}
		return nil
	})
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

// Depose ends the office of whoever leads, as if its lease had run out unseen.
func (m *Memory) Depose(ctx context.Context, name string) error {
	if _, err := m.Commit(ctx, store.Txn{Then: []store.Write{{Key: elections + name}}}); err != nil {
		return fmt.Errorf("storetest: depose %s: %w", name, err)
	}
	return nil
}
