package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/weft-net/weft/server/store"
)

// heldPause lies between two tries to take what somebody else holds.
const heldPause = 100 * time.Millisecond

// Hold is that of store/etcd: it keeps a key while ctx lives, and takes it away
// then. Deleting the key stands for a lease that ran out: it is taken anew.
func (m *Memory) Hold(ctx context.Context, key string, write func(old store.Entry) ([]byte, error)) error {
	for ctx.Err() == nil {
		revision, err := m.claim(ctx, key, write)
		if errors.Is(err, store.ErrHeld) || errors.Is(err, store.ErrConflict) {
			select {
			case <-ctx.Done():
			case <-time.After(heldPause):
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := m.vacant(ctx, key, revision); ctx.Err() == nil && err != nil {
			return err
		}
		txn := store.Txn{If: []store.Cond{{Key: key, Revision: revision}}, Then: []store.Write{{Key: key}}}
		_, _ = m.Commit(context.WithoutCancel(ctx), txn) // somebody else's by now
	}
	return ctx.Err()
}

func (m *Memory) claim(ctx context.Context, key string, write func(store.Entry) ([]byte, error)) (int64, error) {
	old, err := m.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	value, err := write(old)
	if err != nil {
		return 0, err
	}
	return m.Commit(ctx, store.Txn{
		If: []store.Cond{{Key: key, Revision: old.Revision}}, Then: []store.Write{{Key: key, Value: value}},
	})
}
