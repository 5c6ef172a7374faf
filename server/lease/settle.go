package lease

import (
	"context"
	"errors"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
)

// ErrSettling is what Acquire answers for something new while the leases that are
// younger than a restored backup are not learned yet.
var ErrSettling = errors.New("the fabric was restored a moment ago and learns the leases that nodes carry; new ones are given in 30 s at most")

// Settling tells whether leases are still being learned after a restore.
func (a *Allocator) Settling(ctx context.Context) (bool, error) {
	r, err := revision(ctx, a.store, store.Settling)
	return r != 0, err
}

// How long nodes that are known may take to return before new leases are given,
// and how long those that nobody knows: agents come back within a second or two.
const (
	settleLimit = 30 * time.Second
	settleLeast = 5 * time.Second
)

// Settle returns when leases are learned: when all nodes with a lease are back,
// 5 s after it was called at the earliest and 30 s at the latest. back answers with those that are. Any server may run
// it, and several.
func (a *Allocator) Settle(ctx context.Context, back func(ctx context.Context) (map[string]bool, error)) error {
	started := time.Now() // monotonic: clocks are set, also now
	for {
		settling, err := a.Settling(ctx)
		if err == nil && !settling {
			return nil
		}
		missing, waited := -1, time.Since(started)
		if err == nil {
			missing, err = a.missing(ctx, back)
		}
		if waited >= settleLimit || waited >= settleLeast && missing == 0 {
			if err = a.settled(ctx); err == nil {
				a.log.Info("leases were settled", note.Took, waited.Round(time.Millisecond), note.Lost, missing)
				return nil
			}
		}
		if err != nil {
			a.log.Warn("leases not settled", note.Err, err, note.Retry, settlePause)
		}
		t := time.NewTimer(settlePause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// settlePause lies between two looks at who is back: observations are written
// once a second.
const settlePause = time.Second

// missing counts the nodes with a lease that are not back.
func (a *Allocator) missing(ctx context.Context, back func(ctx context.Context) (map[string]bool, error)) (int, error) {
	there, err := back(ctx)
	if err != nil {
		return 0, err
	}
	b, err := a.take(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { a.turn <- b }()
	if b, err = a.current(ctx, b); err != nil {
		return 0, err
	}
	n := 0
	for node := range b.held {
		if !there[node] {
			n++
		}
	}
	return n, nil
}

// settled ends the learning, for all servers.
func (a *Allocator) settled(ctx context.Context) error {
	b, err := a.take(ctx)
	if err != nil {
		return err
	}
	defer func() { a.turn <- b }()
	b, err = a.retry(ctx, b, func(b *book) (store.Txn, error) {
		if !b.settling {
			return store.Txn{}, nil
		}
		b.settling = false
		txn := b.txn()
		txn.Then = append(txn.Then, store.Write{Key: store.Settling})
		return txn, nil
	})
	return err
}
