package storetest

import (
	"context"
	"errors"

	"github.com/weft-net/weft/server/store"
)

// ErrDown is what a store that was taken down answers.
var ErrDown = errors.New("storetest: the store is down")

// Fault is what goes wrong at the store's edge. The hooks run under the store's
// lock: they must not call it. A nil hook, or one that answers nil, does nothing.
type Fault struct {
	// Read is asked before Get and List, and by Watch whenever it looks.
	Read func(keyOrPrefix string) error
	// Before is asked before a transaction: with an error nothing is written.
	// store.ErrConflict makes it lose its race.
	Before func(store.Txn) error
	// After is asked when a transaction was written: with an error the caller
	// never learns that it was, as if it crashed or the connection broke.
	After func(store.Txn) error
}

// Inject sets the fault, until the next Inject. The zero Fault heals.
func (m *Memory) Inject(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
	m.wake()
}

// Down makes everything answer ErrDown, and ends the watches with it, until the
// next Inject.
func (m *Memory) Down() {
	m.Inject(Fault{
		Read:   func(string) error { return ErrDown },
		Before: func(store.Txn) error { return ErrDown },
	})
}

// Conflict lets the next n transactions lose their race.
func (m *Memory) Conflict(n int) {
	m.Inject(Fault{Before: func(store.Txn) error {
		if n--; n >= 0 {
			return store.ErrConflict
		}
		return nil
	}})
}

// CutWatches ends all running watches with an error, such as store.ErrCompacted.
func (m *Memory) CutWatches(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = err
	m.cuts++
	m.wake()
}

func (m *Memory) reads(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.fault.Read != nil {
		return m.fault.Read(key)
	}
	return nil
}

func (m *Memory) writes(ctx context.Context, txn store.Txn) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.fault.Before != nil {
		return m.fault.Before(txn)
	}
	return nil
}
