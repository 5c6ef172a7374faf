package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Renaming is the part of a transaction that gives a node's lease to another name,
// for whoever renames more of it at once: after store.ErrConflict it must be asked
// for again. It is empty for a node without a lease. The prefixes do not rest: they
// stay where they are. A lease of the new name is kind.InUseError.
func (a *Allocator) Renaming(ctx context.Context, from, to string) (store.Txn, error) {
	b, err := a.take(ctx)
	if err != nil {
		return store.Txn{}, err
	}
	defer func() { a.turn <- b }()
	if b, err = a.current(ctx, b); err != nil {
		return store.Txn{}, err
	}
	if err := b.readable(from, to); err != nil {
		return store.Txn{}, err
	}
	if h, ok := b.held[to]; ok {
		return store.Txn{}, kind.InUseError{Object: kind.Lease + "/" + to, Problem: fmt.Sprintf(
			"%v is kept for a node %s; take it back first: weft delete lease %s", h.prefixes, to, to)}
	}
	oldKey, newKey := kind.Key(kind.Lease, "", from), kind.Key(kind.Lease, "", to)
	if _, ok := b.held[from]; !ok {
		txn := store.Txn{If: []store.Cond{{Key: oldKey}, {Key: newKey}}}
		if _, claims := b.disputes[from]; claims {
			txn = b.txn()
			txn.If = append(txn.If, store.Cond{Key: oldKey}, store.Cond{Key: newKey})
		}
		moved, err := b.moved(from, to)
		txn.Then = append(txn.Then, moved...)
		return txn, err
	}
	e, err := a.store.Get(ctx, oldKey)
	if err != nil {
		return store.Txn{}, fmt.Errorf("lease: of node %s: %w", from, err)
	}
	var spec kind.LeaseSpec
	o, err := kind.Decode(e.Value, &spec)
	if err != nil {
		return store.Txn{}, fmt.Errorf("lease: of node %s: %w", from, err)
	}
	o.Metadata.Name, spec.Node = to, to
	value, err := kind.Encode(kind.Lease, o.Metadata, spec)
	if err != nil {
		return store.Txn{}, fmt.Errorf("lease: %w", err)
	}
	txn := b.txn()
	txn.If = append(txn.If, store.Cond{Key: oldKey, Revision: e.Revision}, store.Cond{Key: newKey})
	txn.Then = append(txn.Then, store.Write{Key: oldKey}, store.Write{Key: newKey, Value: value})
	moved, err := b.moved(from, to)
	txn.Then = append(txn.Then, moved...)
	return txn, err
}

// moved gives what is known of a node's lease, and what it claims, to another name.
func (b *book) moved(from, to string) (out []store.Write, err error) {
	move := func(oldKey, newKey string, v any) {
		value, failed := json.Marshal(v)
		out, err = append(out, store.Write{Key: oldKey}, store.Write{Key: newKey, Value: value}), errors.Join(err, failed)
	}
	if h, ok := b.held[from]; ok && (h.said != granted || !h.told || len(h.words) > 0) {
		move(viewKey(from), viewKey(to), view{word: h.said, Told: h.told, Words: h.words})
	}
	if d, ok := b.disputes[from]; ok {
		move(disputeKey(from), disputeKey(to), d)
	}
	return out, err
}
