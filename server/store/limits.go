package store

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of one transaction, those of etcd's defaults (server/embed/config.go:
// DefaultMaxTxnOps, DefaultMaxRequestBytes). The size leaves 16 KiB for the
// envelope that carries it through raft.
const (
	MaxOps   = 128                  // conditions, and writes
	MaxBytes = 3*512*1024 - 16*1024 // keys, values and 32 bytes for each
)

// ErrRefused is what Commit answers for a transaction that no store would ever
// take. Repeating it is pointless.
var ErrRefused = errors.New("store: transaction refused")

// Check says whether a store takes a transaction at all, before any condition is
// looked at. Every store calls it first, so that all refuse the same.
func (t Txn) Check() error {
	if len(t.If) > MaxOps || len(t.Then) > MaxOps {
		return fmt.Errorf("%w: %d conditions and %d writes; split it into transactions of at most %d each",
			ErrRefused, len(t.If), len(t.Then), MaxOps)
	}
	size := 0
	for _, c := range t.If {
		if c.Key == "" || c.Revision < 0 {
			return fmt.Errorf("%w: condition on key %q at revision %d; name a key and a revision from 0 on", ErrRefused, c.Key, c.Revision)
		}
		size += len(c.Key) + 32
	}
	for _, w := range t.Then {
		if err := w.check(); err != nil {
			return err
		}
		size += len(w.Key) + len(w.Value) + 32
	}
	if size > MaxBytes {
		return fmt.Errorf("%w: %d bytes; split it into transactions of at most %d", ErrRefused, size, MaxBytes)
	}
	return t.checkOverlaps()
}

func (w Write) check() error {
	switch {
	case w.Key == "":
		return fmt.Errorf("%w: a write without a key", ErrRefused)
	case w.Prefix && w.Value != nil:
		return fmt.Errorf("%w: %s is a prefix and has a value; a prefix can only be deleted", ErrRefused, w.Key)
	}
	return nil
}

// checkOverlaps refuses a key that is set twice, or set and deleted, as etcd does
// (server/etcdserver/api/v3rpc/key.go: checkIntervals).
func (t Txn) checkOverlaps() error {
	set := make(map[string]bool, len(t.Then))
	for _, w := range t.Then {
		if w.Value == nil {
			continue
		}
		if set[w.Key] {
			return fmt.Errorf("%w: %s is set twice", ErrRefused, w.Key)
		}
		set[w.Key] = true
	}
	for _, w := range t.Then {
		if w.Value != nil {
			continue
		}
		for key := range set {
			if key == w.Key || w.Prefix && strings.HasPrefix(key, w.Key) {
				return fmt.Errorf("%w: %s is set and deleted", ErrRefused, key)
			}
		}
	}
	return nil
}
