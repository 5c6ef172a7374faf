package walk

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/weft-net/weft/server/adopt"
	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"

	wire "github.com/weft-net/weft/proto/intent"
)

func (w *world) save() {
	w.heal()
	f, err := w.room.Save(w.t.Context(), backup.ByHand)
	w.must(err)
	w.memories[f.Name] = w.model.remembers()
	w.must(w.room.Folder.Prune(backup.ByHand, 5))
	w.list()
	w.backups++
	if m, ok := w.store.Store.(*storetest.Memory); ok { // nobody watches: it need not keep its history
		w.must(m.Compact(w.t.Context(), m.Revision()))
	}
}

func (w *world) list() {
	files, err := w.room.Folder.List()
	w.must(err)
	w.files = nil // clocks jump: the one just made may be the oldest by its name
	for _, f := range files {
		if _, known := w.memories[f.Name]; known {
			w.files = append(w.files, f.Name)
		}
	}
}

// restore brings one of the last backups back into the store, crashes on the way or
// not, and lets the fabric settle, or begins again before it has.
func (w *world) restore() {
	w.heal()
	if len(w.files) == 0 {
		return
	}
	w.inStep()
	m, err := w.room.Begin(w.t.Context(), w.files[w.r.IntN(len(w.files))], "walk")
	w.must(err)
	for _, l := range w.locals { // a server that has not noticed decides nothing any more
		if _, err := l.Acquire(w.t.Context(), "late", nil); err == nil {
			w.fail(errors.New("a server of the old epoch leased something"))
		}
	}
	before := w.store.leases
	w.finish(m)
	w.restores++
	for node, had := range before {
		if !slices.Equal(had, w.store.leases[node]) {
			w.fail(errors.New("a restore changed the lease of " + node))
		}
	}
	w.assemble()
	w.settle()
}

// inStep brings those that are there the intent of now, nearly.
func (w *world) inStep() {
	for _, n := range w.agents {
		if n.up && n.epoch == w.epoch && w.r.IntN(8) > 0 && slices.Equal(n.lease, w.store.leases[n.name]) {
			w.look(n)
		}
	}
}

// finish brings a restore to its end, over crashes before and after any write.
func (w *world) finish(m backup.Marker) {
	crash := func() {
		w.store.heal()
		w.store.skip = w.r.IntN(4)
		if w.r.IntN(2) == 0 {
			w.store.before = errCrash
		} else {
			w.store.after = errCrash
		}
	}
	if w.r.IntN(2) == 0 {
		crash()
	}
	for err := w.room.Finish(w.t.Context(), m); err != nil; err = w.room.Finish(w.t.Context(), m) {
		w.broken++
		if _, marked, err := backup.Marked(w.t.Context(), w.store); err != nil || !marked {
			w.must(err)
			break
		}
		w.heal()
		if w.r.IntN(3) == 0 {
			crash()
		}
	}
	w.heal()
}

// lose loses the store altogether: it is made again of a backup, or of what agents
// carry.
func (w *world) lose() {
	w.heal()
	w.inStep()
	if len(w.files) == 0 || w.r.IntN(3) == 0 {
		w.adopt()
		return
	}
	file := w.files[w.r.IntN(len(w.files))]
	w.begin(newSpy(storetest.New()))
	m, err := w.room.Fresh(w.t.Context(), file, func([]byte) error { return nil }, &w.sealed)
	w.must(err)
	w.finish(m)
	w.lost++
	w.model.forgets(w.memories[file])
	w.assemble()
	w.settle()
}

// begin puts another store in the place of the one before.
func (w *world) begin(s *spy) {
	w.store = s
	w.room = backup.New(backup.Config{Store: w.store, Folder: w.room.Folder, Keep: 5, Server: "s1", Version: "walk", Now: w.now})
}

// adopt makes a store of what those agents carry that are there.
func (w *world) adopt() {
	var words []adopt.Word
	for _, n := range w.agents {
		if !n.up || n.epoch == "" || n.deleted != "" {
			continue
		}
		cluster, err := compile.Cluster(n.config)
		w.must(err)
		word := adopt.Word{
			Self:  kind.Claim{Node: n.name, Prefixes: n.lease, Revision: n.revision},
			Epoch: n.epoch, Cluster: wire.EncodeCluster(cluster),
		}
		if w.r.IntN(4) > 0 {
			for name, prefixes := range n.leases {
				word.Peers = append(word.Peers, kind.Claim{Node: name, Prefixes: prefixes, Revision: n.revision})
			}
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return
	}
	w.begin(newSpy(storetest.New()))
	m, err := w.room.BeginAdopt(w.t.Context(), w.sealed)
	w.must(err)
	plan, err := adopt.Make(words, adopt.Past{Epochs: w.sealed.Epochs, Losses: w.sealed.Losses, Began: m.Ordinal})
	w.must(err)
	objects, err := plan.Objects(w.now())
	w.must(err)
	w.must(w.room.Rebuild(w.t.Context(), m, w.sealed, objects))
	w.adopted++
	w.model.forgets(memory{})
	for _, word := range words {
		n := w.named(word.Self.Node)
		w.model.hears(n.name, n.lease, w.model.clock)
		for _, c := range word.Peers {
			w.model.hears(c.Node, c.Prefixes, n.at)
		}
	}
	w.assemble()
	w.settle()
}

// settle is the time in which leases are learned. Most agents come in it, some are
// late; meanwhile the rest of the world goes on.
func (w *world) settle() {
	w.settling, w.deaf = true, w.r.IntN(10) == 0
	for range 2 {
		for _, i := range w.r.Perm(nodes) {
			switch roll := w.r.IntN(100); {
			case roll < 8 && i > 0:
				continue // late
			case roll < 12:
				w.agents[i].up = true
			case roll < 15:
				w.fault()
			case roll < 17:
				w.crash()
			case roll < 18:
				w.elect()
			case roll < 20:
				w.release(w.agents[w.r.IntN(nodes)])
			case roll < 22:
				w.adjust(w.agents[w.r.IntN(nodes)])
			}
			w.ask(w.agents[i])
		}
		w.checked()
		if w.r.IntN(10) == 0 { // in the middle
			w.settling = false
			w.cutShort++
			if w.r.IntN(4) == 0 && !w.calm {
				w.lose()
			} else {
				w.restore()
			}
			return
		}
	}
	w.settling = false
	w.heal()
	back := func(context.Context) (map[string]bool, error) {
		all := map[string]bool{}
		for node := range w.store.leases {
			all[node] = true
		}
		return all, nil
	}
	w.must(w.learner.Settle(w.t.Context(), back))
}

// checked fails the walk when the store has a prefix twice.
func (w *world) checked() {
	if w.store.twice != nil {
		w.fail(w.store.twice)
	}
}

func (w *world) heal() { w.store.heal() }

// fault lets the next transaction lose its race, or its answer.
func (w *world) fault() {
	w.store.heal()
	if w.r.IntN(2) == 0 {
		w.store.after = errLost
		w.answers++
	} else {
		w.store.before = store.ErrConflict
		w.races++
	}
}

func (w *world) now() time.Time { return time.Now().Add(w.skew) }
