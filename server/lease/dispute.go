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

func disputeKey(claimant string) string { return store.Disputes + claimant }

// dispute is one node's claim to what it cannot have, because another has it or the
// cluster has no range of it. As long as it stands, nobody else is given that, or told
// of it; when the other is deleted, it is its.
type dispute struct {
	Claimant string         `json:"-"`
	Owner    string         `json:"owner"` // by the store; empty: nobody
	Prefixes []netip.Prefix `json:"prefixes"`
	Word     word           `json:"word"`          // by which it is claimed
	Own      bool           `json:"own,omitempty"` // the node said so itself
}

func readDisputes(ctx context.Context, s Store) (map[string]dispute, error) {
	entries, _, err := s.List(ctx, store.Disputes)
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	out := map[string]dispute{}
	for _, e := range entries {
		d := dispute{Claimant: strings.TrimPrefix(e.Key, store.Disputes)}
		if err := json.Unmarshal(e.Value, &d); err != nil {
			return nil, fmt.Errorf("lease: %s: %w; delete the key", e.Key, err)
		}
		out[d.Claimant] = d
	}
	return out, nil
}

// dispute notes that a node carries what it cannot have.
func (b *book) dispute(txn store.Txn, d dispute) store.Txn {
	old, known := b.disputes[d.Claimant]
	if known && old.Owner == d.Owner && old.Word == d.Word && old.Own == d.Own && slices.Equal(old.Prefixes, d.Prefixes) || len(d.Prefixes) == 0 {
		return txn
	}
	value, err := json.Marshal(d)
	if err != nil {
		panic(err) // our own values: a bug
	}
	b.disputes[d.Claimant] = d
	txn.Then = append(txn.Then, store.Write{Key: disputeKey(d.Claimant), Value: value})
	return txn
}

// settleDispute notes or ends what the answer to a request says of one. A node that
// was told of a lease claims no other any more.
func (b *book) settleDispute(txn store.Txn, r *request) store.Txn {
	if e := (kind.ClaimError{}); errors.As(r.err, &e) && r.returns {
		owner := e.Owner
		if rest, resting := b.rests[e.Prefix]; owner == "" && resting {
			owner = rest.Node
		}
		return b.dispute(txn, dispute{Claimant: r.node, Owner: owner, Prefixes: r.carried, Word: b.past.word(r.epoch, r.revision), Own: true})
	}
	if _, had := b.disputes[r.node]; had && r.err == nil {
		delete(b.disputes, r.node)
		txn.Then = append(txn.Then, store.Write{Key: disputeKey(r.node)})
	}
	return txn
}

// disputed refuses to tell a node of a lease that another node carries, or may yet
// come with: unless it was told before, and carries it, too, or carries it by a
// younger word. From what it says itself it is then known how old its word is: the
// other can have it when it comes.
func (b *book) disputed(r *request, h holding) error {
	carries := func(p netip.Prefix) bool { return slices.Contains(r.carried, p) }
	if b.settling && len(h.prefixes) > 0 && !slices.ContainsFunc(h.prefixes, carries) && !r.returns {
		return fmt.Errorf("lease: node %s: %w", r.node, ErrSettling)
	}
	w := hearsay
	if r.returns {
		w = b.past.word(r.epoch, r.revision)
	}
	for _, p := range h.prefixes {
		by := hearsay
		switch {
		case carries(p) && h.told:
			continue
		case carries(p):
			by = w
		case r.returns && !h.told && len(of(r.carried, p.Addr().Is4())) > 0:
			continue // it does not use it, and loses it
		case h.told:
			by.Revision++ // this store gave it: what only repeats what the store said is no hindrance
		}
		claimant, kept := b.keeper(p, r.node, by)
		if !kept {
			continue
		}
		if r.returns && !h.told {
			b.ages(r.node, w)
		}
		return kind.ClaimError{Node: r.node, Prefix: p, Owner: claimant, Disputed: true}
	}
	return nil
}

// word notes from when some prefixes of a lease are known, beside what was noted.
func (b *book) word(node string, words map[netip.Prefix]word, of []netip.Prefix, w word) {
	h := b.held[node]
	h.words = map[netip.Prefix]word{}
	for _, p := range h.prefixes {
		if was, ok := words[p]; ok {
			h.words[p] = was
		}
		if slices.Contains(of, p) {
			h.words[p] = w
		}
	}
	b.held[node] = h
}

// ages notes that a node was last told of its lease at a point of history: what
// others said of it later was only repeated.
func (b *book) ages(node string, w word) {
	h := b.held[node]
	words := map[netip.Prefix]word{}
	for _, p := range h.prefixes {
		words[p] = h.wordOf(p)
		if w.before(words[p]) {
			words[p] = w
		}
	}
	if !maps.Equal(words, h.words) {
		b.touch(node)
		h.words = words
		b.held[node] = h
	}
}

// heir is who carries some of what is given back.
type heir struct {
	dispute
	prefixes []netip.Prefix
}

// heirs are those who carry what is given back, by name: of several that carry one
// prefix the one with the youngest word.
func (b *book) heirs(node string, freed []netip.Prefix) []heir {
	found := map[string][]netip.Prefix{}
	for _, p := range freed {
		var best dispute
		for _, claimant := range slices.Sorted(maps.Keys(b.disputes)) {
			d := b.disputes[claimant]
			if claimant != node && slices.Contains(d.Prefixes, p) && (best.Claimant == "" || best.Word.before(d.Word)) {
				best = d
			}
		}
		if best.Claimant != "" {
			found[best.Claimant] = append(found[best.Claimant], p)
		}
	}
	var out []heir
	for _, claimant := range slices.Sorted(maps.Keys(found)) {
		out = append(out, heir{b.disputes[claimant], found[claimant]})
	}
	return out
}

// inherit gives what was given back to who carries it, as what is said of it: it is
// told when it comes, unless a younger word comes first.
func (b *book) inherit(txn store.Txn, d heir, now time.Time) store.Txn {
	h, known := b.held[d.Claimant]
	if !known {
		h.meta, h.said = kind.Metadata{Name: d.Claimant, CreatedUnix: now.Unix()}, d.Word
	}
	words := maps.Clone(h.words)
	b.touch(d.Claimant)
	for _, p := range d.prefixes {
		if space, ok := b.space(p); ok {
			space.Free(p)
		}
		b.loose = slices.DeleteFunc(b.loose, func(q netip.Prefix) bool { return p == q })
		b.apply(learning{fresh: []netip.Prefix{p}})
	}
	b.keep(d.Claimant, h, slices.Concat(h.prefixes, d.prefixes), h.said, h.told)
	b.word(d.Claimant, words, d.prefixes, d.Word)
	held := b.held[d.Claimant].prefixes
	if !slices.ContainsFunc(d.Prefixes, func(p netip.Prefix) bool { return !slices.Contains(held, p) }) {
		delete(b.disputes, d.Claimant)
		txn.Then = append(txn.Then, store.Write{Key: disputeKey(d.Claimant)})
	}
	return txn
}

// keeper is the node, other than the one that asks, for which a prefix waits because
// it carries it, by a word that is no older.
func (b *book) keeper(p netip.Prefix, node string, w word) (claimant string, kept bool) {
	for _, claimant := range slices.Sorted(maps.Keys(b.disputes)) {
		d := b.disputes[claimant]
		if claimant != node && slices.ContainsFunc(d.Prefixes, p.Overlaps) && !d.Word.before(w) {
			return claimant, true
		}
	}
	return "", false
}

// kept tells whether a prefix waits for another node.
func (b *book) kept(p netip.Prefix, node string) bool {
	_, kept := b.keeper(p, node, hearsay)
	return kept
}
