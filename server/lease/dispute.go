package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// disputeRoot holds what nodes carry that is another's by a restored store, by
// the node that carries it. As long as that stands, nobody else is told of it; when
// the other is deleted, it is theirs.
const disputeRoot = store.Fabric + "lease-disputes/"

func disputeKey(claimant string) string { return disputeRoot + claimant }

// dispute is one node's claim to what is another's.
type dispute struct {
	Claimant string         `json:"-"`
	Owner    string         `json:"owner"` // by the store
	Prefixes []netip.Prefix `json:"prefixes"`
}

func readDisputes(ctx context.Context, s Store) (map[string]dispute, error) {
	entries, _, err := s.List(ctx, disputeRoot)
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	out := map[string]dispute{}
	for _, e := range entries {
		d := dispute{Claimant: strings.TrimPrefix(e.Key, disputeRoot)}
		if err := json.Unmarshal(e.Value, &d); err != nil {
			return nil, fmt.Errorf("lease: %s: %w; delete the key", e.Key, err)
		}
		out[d.Claimant] = d
	}
	return out, nil
}

// dispute notes that a node carries what is another's.
func (b *book) dispute(txn store.Txn, claimant, owner string, prefixes []netip.Prefix) store.Txn {
	d := dispute{Claimant: claimant, Owner: owner, Prefixes: prefixes}
	old, known := b.disputes[claimant]
	if owner == "" || known && old.Owner == owner && slices.Equal(old.Prefixes, prefixes) || len(txn.Then) >= store.MaxOps-1 {
		return txn
	}
	value, err := json.Marshal(d)
	if err != nil {
		panic(err) // our own values: a bug
	}
	b.disputes[claimant] = d
	txn.Then = append(txn.Then, store.Write{Key: disputeKey(claimant), Value: value})
	return txn
}

// settleDispute notes or ends what the answer to a request says of one. A node that
// was told of a lease claims no other any more.
func (b *book) settleDispute(txn store.Txn, r *request) store.Txn {
	if e := (kind.ClaimError{}); errors.As(r.err, &e) && !e.Disputed {
		owner := e.Owner
		if rest, resting := b.rests[e.Prefix]; owner == "" && resting {
			owner = rest.Node
		}
		return b.dispute(txn, r.node, owner, r.carried)
	}
	if _, had := b.disputes[r.node]; had && r.err == nil && len(txn.Then) < store.MaxOps-1 {
		delete(b.disputes, r.node)
		txn.Then = append(txn.Then, store.Write{Key: disputeKey(r.node)})
	}
	return txn
}

// disputed refuses to tell a node of a lease that it does not carry, and that
// another node does, or may yet come with.
func (b *book) disputed(r *request, h holding) error {
	if b.settling && len(h.prefixes) > 0 && !slices.ContainsFunc(r.carried, func(p netip.Prefix) bool { return slices.Contains(h.prefixes, p) }) && !r.returns {
		return fmt.Errorf("lease: node %s: %w", r.node, ErrSettling)
	}
	for _, claimant := range slices.Sorted(maps.Keys(b.disputes)) {
		d := b.disputes[claimant]
		for _, p := range h.prefixes {
			if claimant != r.node && slices.ContainsFunc(d.Prefixes, p.Overlaps) && !slices.Contains(r.carried, p) {
				return kind.ClaimError{Node: r.node, Prefix: p, Owner: claimant, Disputed: true}
			}
		}
	}
	return nil
}

// heir is who carries what a node gives back.
func (b *book) heir(node string, prefixes []netip.Prefix) (dispute, bool) {
	for _, claimant := range slices.Sorted(maps.Keys(b.disputes)) {
		d := b.disputes[claimant]
		if claimant == node {
			continue
		}
		if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return slices.Contains(d.Prefixes, p) }) {
			return d, true
		}
	}
	return dispute{}, false
}

// inherit gives a lease that was given back to who carries it. What of it is still
// another's keeps it from that; then nobody has the rest until that is settled.
func (b *book) inherit(txn store.Txn, d dispute, freed []netip.Prefix, now time.Time) store.Txn {
	for _, p := range freed {
		if space, ok := b.space(p); ok && slices.Contains(d.Prefixes, p) {
			space.Free(p)
		}
	}
	h, known := b.held[d.Claimant]
	if !known {
		h.meta = kind.Metadata{Name: d.Claimant, CreatedUnix: now.Unix()}
	}
	l, err := b.learn(d.Claimant, d.Prefixes, b.past.now())
	if err != nil || len(l.prefixes) == 0 {
		return txn // what is free of it waits for it
	}
	b.touch(d.Claimant)
	b.apply(l)
	b.keep(d.Claimant, h, l.prefixes, b.past.now(), true)
	delete(b.disputes, d.Claimant)
	txn.Then = append(txn.Then, store.Write{Key: disputeKey(d.Claimant)})
	return txn
}

// keeper is the node, other than the one that asks, for which a prefix waits
// because it carries it.
func (b *book) keeper(p netip.Prefix, node string) (claimant string, kept bool) {
	for claimant, d := range b.disputes {
		if claimant != node && slices.ContainsFunc(d.Prefixes, p.Overlaps) {
			return claimant, true
		}
	}
	return "", false
}

// kept tells whether a prefix waits for another node.
func (b *book) kept(p netip.Prefix, node string) bool {
	_, kept := b.keeper(p, node)
	return kept
}
