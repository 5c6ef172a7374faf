package lease

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// word is the point of the store's history that somebody speaks from: what they
// say was so then. A backup is one, too.
type word struct {
	Age      int64 `json:"age"`      // of the epoch: twice its ordinal, so that there is room between
	Revision int64 `json:"revision"` // of the store
}

func (w word) before(v word) bool {
	return cmp.Or(cmp.Compare(w.Age, v.Age), cmp.Compare(w.Revision, v.Revision)) < 0
}

// hearsay is the word of who knows only what this epoch's store said: it proves
// nothing against it.
var hearsay = word{Age: math.MinInt64}

// viewRoot holds, by node, whose word a lease rests on in a restored store. A lease
// that was given since needs none.
const viewRoot = store.Fabric + "lease-views/"

func viewKey(node string) string { return viewRoot + node }

// view is one such record.
type view struct {
	word
	Told  bool                  `json:"told"` // in this epoch its node was told of it, or told us
	Words map[netip.Prefix]word `json:"words,omitempty"`
	at    int64
}

// wordOf is the word that one prefix of a lease rests on.
func (h holding) wordOf(p netip.Prefix) word {
	if w, ok := h.words[p]; ok {
		return w
	}
	return h.said
}

// past is what a store knows of where it comes from.
type past struct {
	at     int64  // revision that the restore ended by; 0: none
	epoch  string // that is
	began  uint64 // its ordinal; 0 in a store that was never restored
	backup word
	epochs map[string]uint64
	views  map[string]view
}

func readPast(ctx context.Context, s Store) (past, error) {
	p := past{epochs: map[string]uint64{}, views: map[string]view{}}
	e, err := s.Get(ctx, store.Restored)
	if errors.Is(err, store.ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return past{}, fmt.Errorf("lease: %w", err)
	}
	var r struct {
		Ordinal     uint64 `json:"ordinal"`
		Revision    int64  `json:"revision"`
		FileOrdinal uint64 `json:"fileOrdinal"`
	}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return past{}, fmt.Errorf("lease: %s: %w", e.Key, err)
	}
	p.at, p.began, p.backup = e.Revision, r.Ordinal, word{2 * int64(r.FileOrdinal), r.Revision}
	for key, into := range map[string]func([]byte) error{
		store.Fence:  func(v []byte) error { p.epoch = string(v); return nil },
		store.Epochs: func(v []byte) error { return json.Unmarshal(v, &p.epochs) },
	} {
		e, err := s.Get(ctx, key)
		if err == nil {
			err = into(e.Value)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return past{}, fmt.Errorf("lease: %s: %w", key, err)
		}
	}
	return p, p.readViews(ctx, s)
}

// readViews reads the records of this epoch: those that a backup brought are of
// another.
func (p *past) readViews(ctx context.Context, s Store) error {
	entries, _, err := s.List(ctx, viewRoot)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	for _, e := range entries {
		if e.Revision <= p.at {
			continue
		}
		v := view{at: e.Revision}
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return fmt.Errorf("lease: %s: %w; delete the key", e.Key, err)
		}
		p.views[strings.TrimPrefix(e.Key, viewRoot)] = v
	}
	return nil
}

// word is what an agent's weighs that holds the intent of an epoch at a revision.
// An epoch that nobody knows is one that a lost store had begun: it is younger
// than any that the backup knows.
func (p past) word(epoch string, revision int64) word {
	ordinal, known := p.epochs[epoch]
	switch {
	case epoch == "" || epoch == p.epoch:
		return hearsay
	case known:
		return word{2 * int64(ordinal), revision}
	default:
		return word{2*int64(p.began) - 1, revision}
	}
}

// now is the word of what this store gives: nobody knows better.
func (p past) now() word { return word{2 * int64(p.began), math.MaxInt64} }

// standing is whose word a stored lease rests on, and whether its node was told.
func (p past) standing(node string, revision int64) view {
	switch v, ok := p.views[node]; {
	case ok && (v.Told || v.at >= revision):
		return v
	case revision <= p.at:
		return view{word: p.backup}
	default:
		return view{word: p.now(), Told: true}
	}
}

// touch notes that a node's lease is about to change in the book.
func (b *book) touch(node string) {
	if _, ok := b.was[node]; !ok {
		b.was[node], b.touched = b.held[node], append(b.touched, node)
	}
}

// write adds what makes the book's changes of leases true.
func (b *book) write(txn store.Txn) store.Txn {
	for _, node := range b.touched {
		was, key := b.was[node], kind.Key(kind.Lease, "", node)
		h, there := b.held[node]
		if !there && was.revision == 0 {
			continue
		}
		txn.If = append(txn.If, store.Cond{Key: key, Revision: was.revision})
		if !there {
			txn.Then = append(txn.Then, store.Write{Key: key}, store.Write{Key: viewKey(node)})
			continue
		}
		same := was.revision != 0 && slices.Equal(was.prefixes, h.prefixes) && slices.Equal(was.draining, h.draining)
		if !same {
			value, err := kind.Encode(kind.Lease, h.meta, kind.LeaseSpec{Node: node, Prefixes: h.prefixes, Draining: h.draining})
			if err != nil {
				panic(err) // our own values: a bug
			}
			txn.Then = append(txn.Then, store.Write{Key: key, Value: value})
		}
		if same || h.said != b.past.now() {
			value, err := json.Marshal(view{word: h.said, Told: h.told, Words: h.words})
			if err != nil {
				panic(err) // our own values: a bug
			}
			txn.Then = append(txn.Then, store.Write{Key: viewKey(node), Value: value})
		}
	}
	clear(b.was)
	b.touched = nil
	return txn
}

// without is a holding less a prefix.
func (h holding) without(p netip.Prefix) holding {
	gone := func(q netip.Prefix) bool { return p == q }
	h.prefixes = slices.DeleteFunc(slices.Clone(h.prefixes), gone)
	h.draining = slices.DeleteFunc(slices.Clone(h.draining), gone)
	return h
}
