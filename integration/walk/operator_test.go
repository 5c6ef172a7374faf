package walk

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// resolve is what an operator does, or not yet, about two nodes with one prefix.
func (w *world) resolve(claim kind.ClaimError) {
	owner, node := w.named(claim.Owner), w.named(claim.Node)
	switch {
	case w.r.IntN(3) == 0: // not yet
	case owner == nil && claim.Owner != "": // a ghost, of a name that nobody has any more
		w.releaseName(claim.Owner)
	case owner != nil && (owner.lease == nil || w.r.IntN(2) == 0):
		w.release(owner)
	default:
		w.release(node)
	}
}

// release is an operator's: a node that is there cleans up first, one that is away
// keeps what it has on its disk.
func (w *world) release(n *agent) {
	n.note(w, "released")
	if n.up {
		n.forgets()
	} else if n.lease != nil {
		n.deleted = w.epoch
		w.zombies++
	}
	w.releaseName(n.name)
}

func (w *world) releaseName(name string) {
	w.model.deleted(name)
	_, err := w.store.Store.Commit(w.t.Context(), store.Txn{Then: []store.Write{{Key: kind.Key(kind.Node, "", name)}}})
	w.must(err)
	for range 5 {
		if w.locals[w.leader].Release(w.t.Context(), name) == nil {
			w.released++
			return
		}
	}
	w.fail(fmt.Errorf("%s could not be released", name))
}

// adjust is what servers do about a node that is full, or has a prefix to spare.
func (w *world) adjust(n *agent) {
	if !n.up || n.epoch != w.epoch || len(n.lease) == 0 {
		return
	}
	a := w.locals[w.leader]
	clear(w.store.wrote)
	if len(n.lease) == 1 || w.r.IntN(3) == 0 {
		if _, err := a.Grow(w.t.Context(), n.name, w.r.IntN(4) > 0); err == nil {
			w.grown++
		}
		w.perhaps(n.name)
		return
	}
	p := n.lease[w.r.IntN(len(n.lease))]
	if a.Drain(w.t.Context(), n.name, p) != nil || !slices.Contains(w.store.leases[n.name], p) {
		return
	}
	known := w.store.revision
	if w.r.IntN(4) == 0 {
		known = n.revision // it closed it before something else happened
	}
	if others := slices.DeleteFunc(slices.Clone(n.lease), func(q netip.Prefix) bool {
		return q == p || q.Addr().Is4() != p.Addr().Is4() || !slices.Contains(w.store.leases[n.name], q)
	}); len(others) == 0 {
		return
	}
	w.model.closes(n.name, p) // empty, and no pod gets an address of it
	n.lease = slices.DeleteFunc(slices.Clone(n.lease), func(q netip.Prefix) bool { return q == p })
	if a.Yield(w.t.Context(), n.name, p, known) == nil {
		w.yielded++
	}
	n.note(w, "yield "+p.String())
}

// complete is what servers do after a family was added.
func (w *world) complete() {
	clear(w.store.wrote)
	for after := ""; ; {
		done, next, err := w.locals[w.leader].Complete(w.t.Context(), after)
		for _, g := range done {
			if g.Err == nil {
				w.extended++
			}
		}
		for node := range w.store.wrote {
			w.perhaps(node)
		}
		if after = next; err != nil || after == "" {
			return
		}
	}
}

// configure is an operator who makes the cluster larger, adds a family, or tries to
// take something away.
func (w *world) configure() {
	w.heal()
	ranges := []string{"10.42.0.0/17", "10.42.0.0/16", "10.42.0.0/15"}
	spec := w.store.config
	spec.ClusterCIDRs = []netip.Prefix{netip.MustParsePrefix(ranges[w.r.IntN(len(ranges))])}
	if w.r.IntN(3) > 0 {
		spec.ClusterCIDRs = append(spec.ClusterCIDRs, netip.MustParsePrefix("fd42:42::/48"))
	}
	value, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName}, spec)
	w.must(err)
	o, err := kind.Decode(value, &spec)
	w.must(err)
	txn, err := w.locals[w.leader].Guard(w.t.Context(), []kind.Object{o}, nil)
	if err != nil {
		w.refused++
		return
	}
	txn.Then = append(txn.Then, store.Write{Key: kind.Key(kind.ClusterConfig, "", kind.DefaultName), Value: value})
	_, err = w.store.Commit(w.t.Context(), txn)
	w.must(err)
	w.configured++
}

// rename gives a node that is in step another name.
func (w *world) rename(n *agent) {
	if !n.up || n.epoch != w.epoch || !slices.Equal(n.lease, w.store.leases[n.name]) {
		return
	}
	to, ok := strings.CutSuffix(n.name, "b")
	if !ok {
		to = n.name + "b"
	}
	w.heal()
	txn, err := w.locals[w.leader].Renaming(w.t.Context(), n.name, to)
	if err != nil {
		w.refused++
		return
	}
	txn.Then = append(txn.Then, store.Write{Key: kind.Key(kind.Node, "", n.name)})
	if w.r.IntN(4) == 0 {
		w.fault()
	}
	if _, err = w.store.Commit(w.t.Context(), txn); err != nil && !errors.Is(err, errLost) {
		return
	}
	w.model.renamed(n.name, to)
	n.note(w, "renamed "+to)
	n.name = to
	w.look(n)
	w.renamed++
}

// leave takes an agent away, with the intent of now or an older one.
func (w *world) leave(n *agent) {
	if n.epoch == w.epoch && w.r.IntN(2) == 0 && slices.Equal(n.lease, w.store.leases[n.name]) {
		w.look(n)
	}
	n.up = false
}
