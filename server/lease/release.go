package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Release takes a node's lease back. Its prefixes rest before they are given
// again. A node without a lease is no error.
func (a *Allocator) Release(ctx context.Context, node string) error {
	b, err := a.take(ctx)
	if err != nil {
		return err
	}
	defer func() { a.turn <- b }()
	var freed []netip.Prefix
	b, err = a.retry(ctx, b, func(b *book) (store.Txn, error) {
		var txn store.Txn
		txn, freed = b.release(node, a.now())
		return txn, nil
	})
	if err != nil {
		return fmt.Errorf("lease: release of node %s: %w", node, err)
	}
	if len(freed) > 0 {
		a.log.Info("lease was released", note.Node, node, note.Lease, freed)
		a.note(journal.Event{Object: "Lease/" + node, Reason: "LeaseFreed", Message: listed(freed)})
	}
	return nil
}

// release enters in the book that a node's prefixes rest, and gives the
// transaction that makes it true.
func (b *book) release(node string, now time.Time) (store.Txn, []netip.Prefix) {
	h, ok := b.held[node]
	_, claims := b.disputes[node]
	if !ok && !claims {
		return store.Txn{}, nil
	}
	txn := b.txn()
	if claims {
		delete(b.disputes, node)
		txn.Then = append(txn.Then, store.Write{Key: disputeKey(node)})
	}
	if !ok {
		return txn, nil
	}
	b.touch(node)
	delete(b.held, node)
	txn = b.write(txn)
	heirs := b.heirs(node, h.prefixes)
	resting := slices.DeleteFunc(slices.Clone(h.prefixes), func(p netip.Prefix) bool {
		return slices.ContainsFunc(heirs, func(d heir) bool { return slices.Contains(d.prefixes, p) })
	})
	txn.Then = append(txn.Then, b.freed(node, resting, now)...)
	for _, d := range heirs {
		txn = b.inherit(txn, d, now)
	}
	txn = b.write(txn)
	return b.sweep(txn), h.prefixes
}

// handOn adds what goes with the deletion of a lease that another deletes: what it
// frees rests, or goes to the node that carries it.
func (b *book) handOn(txn store.Txn, node string, now time.Time) store.Txn {
	released, _ := b.release(node, now)
	frame, key := b.txn(), kind.Key(kind.Lease, "", node)
	for _, c := range released.If {
		if c.Key != key && !slices.Contains(frame.If, c) {
			txn.If = append(txn.If, c)
		}
	}
	for _, w := range released.Then {
		if w.Key != key && w.Key != guardKey {
			txn.Then = append(txn.Then, w)
		}
	}
	return txn
}

// freed enters in the book that prefixes of a node rest, and gives the records of
// it.
func (b *book) freed(node string, prefixes []netip.Prefix, now time.Time) []store.Write {
	for _, p := range prefixes {
		b.loose = slices.DeleteFunc(b.loose, func(q netip.Prefix) bool { return p == q })
		if space, ok := b.space(p); ok && space.Rest(p, now) {
			b.rests[p] = rested{Node: node, SinceUnix: now.Unix()}
			b.garbage = slices.DeleteFunc(b.garbage, func(key string) bool { return key == restKey(p) })
		}
	}
	return restWrites(node, prefixes, now)
}

// restWrites record that prefixes were freed.
func restWrites(node string, prefixes []netip.Prefix, now time.Time) []store.Write {
	var out []store.Write
	for _, p := range prefixes {
		value, err := json.Marshal(rested{Node: node, SinceUnix: now.Unix()})
		if err != nil {
			panic(err) // our own values: a bug
		}
		out = append(out, store.Write{Key: restKey(p), Value: value})
	}
	return out
}
