package lease

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Return is Acquire for a node that comes from another epoch: what it carries
// counts against what this store remembers, by whose word is younger. The error is
// kind.ClaimError if it carries what another node was told of, or has by a younger
// word.
func (a *Allocator) Return(ctx context.Context, carried kind.Claim) ([]netip.Prefix, error) {
	return a.ask(ctx, &request{node: carried.Node, carried: carried.Prefixes, epoch: carried.Epoch, revision: carried.Revision, returns: true})
}

// A transaction of claims holds as many as are sure to fit: each writes four
// objects, one more for a dispute, and two for each node that gives way.
const (
	claimCost  = 5
	claimExtra = 2 // a prefix
	claimRoom  = store.MaxOps - 20
)

// Adopt makes leases of what agents carry of nodes that are away, where the store
// does not know them or knows less, with the objects that make their peers reach
// them: they are reserved until their node returns, or is deleted. It answers the
// revision of the last write, 0 if there was nothing to write, and what was not
// taken. Adopting again changes nothing.
func (a *Allocator) Adopt(ctx context.Context, claims []kind.Claim) (revision int64, refused []kind.Refusal, err error) {
	b, err := a.take(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer func() { a.turn <- b }()
	for len(claims) > 0 {
		n, cost := 0, 0
		for ; n < len(claims) && (n == 0 || cost <= claimRoom); n++ {
			cost += claimCost + claimExtra*len(claims[n].Prefixes)
		}
		if cost > claimRoom && n > 1 {
			n--
		}
		part := claims[:n]
		claims = claims[n:]
		var said []kind.Refusal
		wrote := false
		b, err = a.retry(ctx, b, func(b *book) (store.Txn, error) {
			txn, no, err := a.adopt(ctx, b, part)
			said, wrote = no, len(txn.Then) > 0
			return txn, err
		})
		if err != nil {
			return revision, refused, fmt.Errorf("lease: claims of agents: %w", err)
		}
		refused = append(refused, said...)
		if wrote {
			revision = b.guard
		}
	}
	return revision, refused, nil
}

// adopt decides about claims.
func (a *Allocator) adopt(ctx context.Context, b *book, claims []kind.Claim) (store.Txn, []kind.Refusal, error) {
	if b.config == 0 {
		return store.Txn{}, nil, ErrNoConfig
	}
	if err := b.readable(); err != nil {
		return store.Txn{}, nil, err
	}
	now := a.now()
	txn := b.txn()
	frame := len(txn.Then)
	var refused []kind.Refusal
	for _, c := range claims {
		w := b.past.word(c.Epoch, c.Revision)
		h, known := b.held[c.Node]
		if c.Node == "" || known && (h.told || !h.said.before(w)) {
			continue // it brought its own word, or the store's is as good
		}
		if no := b.claim(c, w, now); no != nil {
			refused = append(refused, *no)
			if other, ok := b.held[no.Owner]; ok && other.said.before(w) { // which is told
				txn = b.dispute(txn, c.Node, no.Owner, c.Prefixes)
			}
			continue
		}
		a.log.Info("lease was claimed", note.Node, c.Node, note.Lease, c.Prefixes)
		if known {
			continue
		}
		writes, err := a.claimWrites(ctx, c, now)
		if err != nil {
			return store.Txn{}, nil, err
		}
		for _, w := range writes {
			txn.If = append(txn.If, store.Cond{Key: w.Key})
			txn.Then = append(txn.Then, w)
		}
	}
	if txn = b.write(txn); len(txn.Then) == frame {
		return store.Txn{}, refused, nil
	}
	return b.sweep(txn), refused, nil
}

// claim enters in the book what is said of a node that is away.
func (b *book) claim(c kind.Claim, w word, now time.Time) *kind.Refusal {
	if len(c.Prefixes) == 0 || intent.ValidName(c.Node) != nil {
		return &kind.Refusal{Node: c.Node, Cause: "it names no node, or no prefix"}
	}
	h, known := b.held[c.Node]
	if !known {
		h.meta = kind.Metadata{Name: c.Node, CreatedUnix: now.Unix()}
	}
	l, err := b.learn(c.Node, c.Prefixes, w)
	if err == nil && len(l.prefixes) == 0 {
		err = b.claimed(c.Node, c.Prefixes[0])
	}
	if e := (kind.ClaimError{}); errors.As(err, &e) {
		return &kind.Refusal{Node: c.Node, Prefix: e.Prefix, Owner: e.Owner, Cause: e.Why}
	}
	b.touch(c.Node)
	b.apply(l)
	b.keep(c.Node, h, l.prefixes, w, false)
	return nil
}

// keep enters a node's lease in the book.
func (b *book) keep(node string, h holding, prefixes []netip.Prefix, w word, told bool) {
	h.prefixes = intent.InOrder(b.families(), prefixes)
	h.draining = slices.DeleteFunc(slices.Clone(h.draining), func(p netip.Prefix) bool { return !slices.Contains(h.prefixes, p) })
	h.said, h.told = w, told
	b.held[node] = h
}

// claimWrites are the objects of a node that is claimed, as far as they are not
// there: all but its lease.
func (a *Allocator) claimWrites(ctx context.Context, c kind.Claim, now time.Time) ([]store.Write, error) {
	labelled := kind.Metadata{Name: c.Node, CreatedUnix: now.Unix(), Labels: c.Labels}
	var out []store.Write
	for _, o := range []struct {
		kind string
		meta kind.Metadata
		spec any
	}{
		{kind.Node, labelled, kind.NodeSpec{}},
		{kind.Report, kind.Metadata{Name: c.Node}, c.Report},
	} {
		key := kind.Key(o.kind, "", c.Node)
		if r, err := revision(ctx, a.store, key); err != nil {
			return nil, err
		} else if r != 0 {
			continue
		}
		value, err := kind.Encode(o.kind, o.meta, o.spec)
		if err != nil {
			return nil, fmt.Errorf("lease: %w", err)
		}
		out = append(out, store.Write{Key: key, Value: value})
	}
	return out, nil
}
