package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
		if c.Node == "" || h.told {
			continue // it brought its own word
		}
		if no := b.claim(c, w, now); no != nil {
			refused = append(refused, *no)
			txn = b.unheard(txn, c, no, w)
		}
		if _, taken := b.held[c.Node]; !taken {
			continue
		}
		a.log.Debug("lease was claimed", note.Node, c.Node, note.Lease, c.Prefixes)
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

// unheard keeps for a node that is away what was refused it, unless that is another's
// by a word that ends this one, or it came since with a claim of its own.
func (b *book) unheard(txn store.Txn, c kind.Claim, no *kind.Refusal, w word) store.Txn {
	if !no.Prefix.IsValid() {
		return txn
	}
	if other, ok := b.held[no.Owner]; ok && b.past.follows(other.wordOf(no.Prefix), w) || w == hearsay {
		return txn
	}
	d := dispute{Claimant: c.Node, Owner: no.Owner, Prefixes: c.Prefixes, Word: w}
	if old, ok := b.disputes[c.Node]; ok && old.Own {
		return txn
	} else if ok { // others may each know something else
		d.Prefixes = slices.Clone(old.Prefixes)
		for _, p := range c.Prefixes {
			if !slices.Contains(d.Prefixes, p) && len(d.Prefixes) < kind.MaxLeasePrefixes {
				d.Prefixes = append(d.Prefixes, p)
			}
		}
		if !old.Word.before(w) {
			d.Owner, d.Word = old.Owner, old.Word
		}
	}
	return b.dispute(txn, d)
}

// claim enters in the book what is said of a node that is away. That only adds: an
// epoch in which it was away may have known less of it. What it does not carry it
// loses when it returns.
func (b *book) claim(c kind.Claim, w word, now time.Time) *kind.Refusal {
	if len(c.Prefixes) == 0 || intent.ValidName(c.Node) != nil {
		return &kind.Refusal{Node: c.Node, Cause: "it names no node, or no prefix"}
	}
	h, known := b.held[c.Node]
	if !known {
		h.meta, h.said = kind.Metadata{Name: c.Node, CreatedUnix: now.Unix()}, w
	}
	was, words := h.prefixes, maps.Clone(h.words)
	if words == nil {
		words = map[netip.Prefix]word{}
	}
	var refused *kind.Refusal
	for _, p := range c.Prefixes {
		if !slices.Contains(h.prefixes, p) {
			from, err := b.way(c.Node, p, w)
			if e := (kind.ClaimError{}); errors.As(err, &e) {
				refused = &kind.Refusal{Node: c.Node, Prefix: e.Prefix, Owner: e.Owner, Cause: e.Why}
			}
			if err != nil || len(h.prefixes) >= kind.MaxLeasePrefixes {
				continue
			}
			l := learning{fresh: []netip.Prefix{p}}
			if from != "" {
				l.from = map[netip.Prefix]string{p: from}
			}
			b.touch(c.Node)
			b.apply(l)
			h.prefixes, words[p] = append(slices.Clone(h.prefixes), p), w
		} else if h.wordOf(p).before(w) {
			words[p] = w
		}
	}
	if len(h.prefixes) == 0 || len(h.prefixes) == len(was) && maps.Equal(words, h.words) {
		return refused
	}
	b.touch(c.Node)
	b.keep(c.Node, h, h.prefixes, h.said, false)
	h = b.held[c.Node]
	h.words = words
	b.held[c.Node] = h
	return refused
}

// keep enters a node's lease in the book.
func (b *book) keep(node string, h holding, prefixes []netip.Prefix, w word, told bool) {
	h.prefixes = intent.InOrder(b.families(), prefixes)
	h.draining = slices.DeleteFunc(slices.Clone(h.draining), func(p netip.Prefix) bool { return !slices.Contains(h.prefixes, p) })
	h.said, h.told, h.words = w, told, nil
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
