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

// hearsay is the word of who knows only what this store said: it proves nothing
// against it. granted is that of what this store gave: nobody knows better.
var (
	hearsay = word{Age: math.MinInt64}
	granted = word{Age: math.MaxInt64, Revision: math.MaxInt64}
)

func viewKey(node string) string { return store.Words + node }

// view is whose word the lease of a node rests on that was not given by this store,
// or not told since.
type view struct {
	word
	Told  bool                  `json:"told"` // its node was told of it, or told us, since the store was lost
	Words map[netip.Prefix]word `json:"words,omitempty"`
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
	at     int64    // revision at which it was made again; 0: it was never lost
	began  uint64   // ordinal of the epoch that began then
	losses []uint64 // and of all that began so, sorted
	backup word     // that it was made of
	epochs map[string]uint64
	views  map[string]view
}

func readPast(ctx context.Context, s Store) (past, error) {
	p := past{epochs: map[string]uint64{}, views: map[string]view{}}
	var lost struct {
		Ordinal     uint64   `json:"ordinal"`
		Revision    int64    `json:"revision"`
		FileOrdinal uint64   `json:"fileOrdinal"`
		Losses      []uint64 `json:"losses"`
	}
	for key, into := range map[string]any{store.Lost: &lost, store.Epochs: &p.epochs} {
		e, err := s.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(e.Value, into)
		}
		if err != nil {
			return past{}, fmt.Errorf("lease: %s: %w", key, err)
		}
		if key == store.Lost {
			p.at = e.Revision
		}
	}
	p.began, p.losses, p.backup = lost.Ordinal, lost.Losses, word{2 * int64(lost.FileOrdinal), lost.Revision}
	slices.Sort(p.losses)
	return p, p.readViews(ctx, s)
}

// readViews reads the records. Those of a backup that this store was made again of
// say whose memory it only repeats; who was told then counts as the backup's word.
func (p *past) readViews(ctx context.Context, s Store) error {
	entries, _, err := s.List(ctx, store.Words)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	for _, e := range entries {
		var v view
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return fmt.Errorf("lease: %s: %w; delete the key", e.Key, err)
		}
		if v.Told && e.Revision < p.at {
			continue
		}
		p.views[strings.TrimPrefix(e.Key, store.Words)] = v
	}
	return nil
}

// word is what an agent's weighs that holds the intent of an epoch at a revision.
// Since the store was made again it has not forgotten anything, whatever was
// restored: who was let in then knows nothing that it does not. An epoch that nobody
// knows is one that a lost store had begun: it is younger than any that is known.
func (p past) word(epoch string, revision int64) word {
	ordinal, known := p.epochs[epoch]
	switch {
	case epoch == "" || p.at == 0 || known && ordinal >= p.began:
		return hearsay
	case known:
		return word{2 * int64(ordinal), revision}
	default:
		return word{2*int64(p.began) - 1, revision}
	}
}

// follows tells whether a word is younger than another, and of the same store, which
// forgot nothing in between: then what the older says is over. After a loss a store
// may repeat what was over before.
func (p past) follows(w, older word) bool {
	if !older.before(w) || w == granted || older == hearsay {
		return false
	}
	if older.Age == w.Age {
		return true
	}
	return !slices.ContainsFunc(p.losses, func(ordinal uint64) bool {
		first := 2*int64(ordinal) - 1 // of epochs that nobody knows
		return older.Age < first && first <= w.Age
	})
}

// standing is whose word a stored lease rests on, and whether its node was told.
func (p past) standing(node string, revision int64) view {
	switch v, ok := p.views[node]; {
	case ok:
		return v
	case revision <= p.at:
		return view{word: p.backup}
	default:
		return view{word: granted, Told: true}
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
			delete(b.past.views, node)
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
		_, recorded := b.past.views[node]
		switch v := (view{word: h.said, Told: h.told, Words: h.words}); {
		case h.said != granted || !h.told || len(h.words) > 0 || same: // a lease that was not written may be older than the store
			value, err := json.Marshal(v)
			if err != nil {
				panic(err) // our own values: a bug
			}
			b.past.views[node] = v
			txn.Then = append(txn.Then, store.Write{Key: viewKey(node), Value: value})
		case recorded:
			delete(b.past.views, node)
			txn.Then = append(txn.Then, store.Write{Key: viewKey(node)})
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
