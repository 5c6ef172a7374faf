package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// ErrSettling is what Acquire answers for something new while the leases that are
// younger than a restored backup are not learned yet.
var ErrSettling = errors.New("the fabric was restored a moment ago and learns the leases that nodes carry; new ones are given in 30 s at most")

// Return is Acquire for a node that comes from another epoch: what it carries
// counts, also against what the store remembers of the node itself, as far as
// nobody else has it.
func (a *Allocator) Return(ctx context.Context, node string, carried []netip.Prefix) ([]netip.Prefix, error) {
	return a.ask(ctx, &request{node: node, carried: carried, returns: true})
}

// relearn brings a node's lease to what it carries, beside what it has of that
// family already. What is freed was another's, or nobody's, when the store was
// lost: it does not rest, because whoever has it will claim it.
func (b *book) relearn(r *request, ended map[netip.Prefix]rested) (prefixes, fresh, freed []netip.Prefix, err error) {
	h := b.held[r.node]
	prefixes = slices.Clone(h.prefixes)
	for _, is4 := range b.families() {
		other := func(p netip.Prefix) bool { return p.Addr().Is4() != is4 }
		carried, had := slices.DeleteFunc(slices.Clone(r.carried), other), slices.DeleteFunc(slices.Clone(h.prefixes), other)
		if len(carried) > 0 && !slices.ContainsFunc(carried, func(p netip.Prefix) bool { return slices.Contains(had, p) }) {
			freed = append(freed, had...)
			prefixes = slices.DeleteFunc(prefixes, func(p netip.Prefix) bool { return slices.Contains(had, p) })
		}
		for _, p := range carried {
			if slices.Contains(had, p) {
				continue
			}
			if !b.honour(r.node, p, ended) {
				b.undo(fresh, ended)
				return nil, nil, nil, b.claimed(r.node, p)
			}
			fresh, prefixes = append(fresh, p), append(prefixes, p)
		}
	}
	return prefixes, fresh, freed, nil
}

// claimed says why a node cannot have what it carries.
func (b *book) claimed(node string, p netip.Prefix) kind.ClaimError {
	e := kind.ClaimError{Node: node, Prefix: p}
	for other, h := range b.held {
		if other != node && slices.ContainsFunc(h.prefixes, p.Overlaps) {
			e.Owner = other
			return e
		}
	}
	switch _, ok := b.space(p); {
	case !ok:
		e.Why = "it lies in none of the cluster's ranges"
	case p.Bits() != b.spec.MaskSize(p.Addr().Is4()):
		e.Why = fmt.Sprintf("nodes lease a /%d", b.spec.MaskSize(p.Addr().Is4()))
	default:
		e.Why = "it rests, because another node gave it back a moment ago"
	}
	return e
}

// maxClaims bounds the claims of one transaction: each writes three objects under
// as many conditions.
const maxClaims = 24

// Adopt makes leases of what agents carry of nodes that the store does not know,
// with the objects that make their peers reach them: they are reserved until
// their node returns, or is deleted. It answers the revision of the last write, 0
// if there was nothing to write, and what was not taken. Adopting again changes
// nothing.
func (a *Allocator) Adopt(ctx context.Context, claims []kind.Claim) (revision int64, refused []kind.Refusal, err error) {
	b, err := a.take(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer func() { a.turn <- b }()
	for part := range slices.Chunk(claims, maxClaims) {
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
		h, known := b.held[c.Node]
		if known && c.Revision > b.restored && !slices.ContainsFunc(c.Prefixes, func(p netip.Prefix) bool { return slices.Contains(h.prefixes, p) }) {
			txn = b.correct(txn, c, &refused)
			continue
		}
		if known {
			more, err := b.extended(c, h)
			if err != nil {
				return store.Txn{}, nil, err
			}
			txn.If, txn.Then = append(txn.If, more.If...), append(txn.Then, more.Then...)
			continue
		}
		if c.Node == "" {
			continue // it brings its own word
		}
		ended := map[netip.Prefix]rested{}
		if no := b.enter(c, ended); no != nil {
			refused = append(refused, *no)
			txn = b.dispute(txn, c.Node, no.Owner, c.Prefixes)
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
		a.log.Info("lease was claimed", note.Node, c.Node, note.Lease, c.Prefixes)
	}
	if len(txn.Then) == frame {
		return store.Txn{}, refused, nil
	}
	return b.sweep(txn), refused, nil
}

// correct brings the lease of a node that the backup knows, and that is away, to
// what its peers were told after the backup was made.
func (b *book) correct(txn store.Txn, c kind.Claim, refused *[]kind.Refusal) store.Txn {
	prefixes, _, freed, err := b.relearn(&request{node: c.Node, carried: c.Prefixes, returns: true}, map[netip.Prefix]rested{})
	if e := (kind.ClaimError{}); errors.As(err, &e) {
		*refused = append(*refused, kind.Refusal{Node: c.Node, Prefix: e.Prefix, Owner: e.Owner, Cause: e.Why})
		return b.dispute(txn, c.Node, e.Owner, c.Prefixes)
	}
	for _, p := range freed {
		if space, ok := b.space(p); ok {
			space.Free(p)
		}
	}
	h := b.held[c.Node]
	h.prefixes = intent.InOrder(b.families(), prefixes)
	b.held[c.Node] = h
	value, err := kind.Encode(kind.Lease, h.meta, kind.LeaseSpec{Node: c.Node, Prefixes: h.prefixes})
	if err != nil {
		panic(err) // our own values: a bug
	}
	key := kind.Key(kind.Lease, "", c.Node)
	txn.If = append(txn.If, store.Cond{Key: key, Revision: h.revision})
	txn.Then = append(txn.Then, store.Write{Key: key, Value: value})
	return txn
}

// restoredRevision is that of the backup that the store was restored from; 0 if it
// never was.
func restoredRevision(ctx context.Context, s Store) (int64, error) {
	e, err := s.Get(ctx, store.Restored)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("lease: %w", err)
	}
	var r struct {
		Revision int64 `json:"revision"`
	}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return 0, fmt.Errorf("lease: %s: %w", e.Key, err)
	}
	return r.Revision, nil
}

// enter takes all prefixes of a claim, or none.
func (b *book) enter(c kind.Claim, ended map[netip.Prefix]rested) *kind.Refusal {
	for i, p := range c.Prefixes {
		if b.honour(c.Node, p, ended) {
			continue
		}
		b.undo(c.Prefixes[:i], ended)
		e := b.claimed(c.Node, p)
		return &kind.Refusal{Node: c.Node, Prefix: p, Owner: e.Owner, Cause: e.Why}
	}
	if len(c.Prefixes) == 0 || intent.ValidName(c.Node) != nil {
		return &kind.Refusal{Node: c.Node, Cause: "it names no node, or no prefix"}
	}
	b.held[c.Node] = holding{prefixes: intent.InOrder(b.families(), c.Prefixes)}
	return nil
}

// claimWrites are the objects of a node that is claimed, as far as they are not
// there.
func (a *Allocator) claimWrites(ctx context.Context, c kind.Claim, now time.Time) ([]store.Write, error) {
	meta := kind.Metadata{Name: c.Node, CreatedUnix: now.Unix()}
	labelled := meta
	labelled.Labels = c.Labels
	var out []store.Write
	for _, o := range []struct {
		kind string
		meta kind.Metadata
		spec any
	}{
		{kind.Lease, meta, kind.LeaseSpec{Node: c.Node, Prefixes: c.Prefixes}},
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

// carveOne takes a free prefix of a space, from the end that this epoch gives
// from.
func (b *book) carveOne(s *ipam.Space, bits int, now time.Time) (netip.Prefix, error) {
	if b.down {
		return s.CarveLast(bits, now)
	}
	return s.Carve(bits, now)
}
