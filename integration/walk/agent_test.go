package walk

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
)

// agent is a node: what is on its disk, and whether somebody runs it.
type agent struct {
	name   string
	up     bool
	lease  []netip.Prefix // that it uses
	intent                // that it got last

	deleted string // epoch in which an operator deleted it while it was away; empty: none did
	history []string
}

// intent is the leases of all nodes, as of a point of the store.
type intent struct {
	epoch    string
	revision int64
	leases   map[string][]netip.Prefix
	config   kind.ClusterConfigSpec
	at       int // of the model's clock
}

func (a *agent) note(w *world, what string) {
	a.history = append(a.history, fmt.Sprintf("%d:%s@%.4s.%d%v", w.done, what, a.epoch, a.revision, a.lease))
	a.history = a.history[max(0, len(a.history)-20):]
}

// forgets is a node that was told that it is deleted, or never was one.
func (a *agent) forgets() { a.lease, a.intent, a.deleted = nil, intent{}, "" }

// look brings an agent the intent of now.
func (w *world) look(n *agent) {
	n.intent = intent{w.epoch, w.store.revision, w.store.leases, w.store.config, w.model.tick()}
}

// ask has an agent come to the servers.
func (w *world) ask(n *agent) {
	if !n.up {
		return
	}
	if n.deleted != "" && n.deleted == w.epoch { // its certificate is refused: it cleans up
		n.forgets()
	}
	w.join(n)
	clear(w.store.wrote)
	if n.epoch != "" && n.epoch != w.epoch {
		w.comeBack(n)
		return
	}
	got, err := w.locals[w.leader].Acquire(w.t.Context(), n.name, n.lease)
	if w.told(n, got, err) {
		w.learns(n, got)
	}
}

// join is what makes a node one of the fabric, but for its lease.
func (w *world) join(n *agent) {
	key := kind.Key(kind.Node, "", n.name)
	if _, err := w.store.Get(w.t.Context(), key); err == nil {
		return
	}
	value, err := kind.Encode(kind.Node, kind.Metadata{Name: n.name}, kind.NodeSpec{})
	w.must(err)
	_, err = w.store.Store.Commit(w.t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: value}}})
	w.must(err)
}

// comeBack has an agent come from another epoch: first with what it carries, then
// with what it knows of others. It may crash in between.
func (w *world) comeBack(n *agent) {
	w.returned++
	got, err := w.learner.Return(w.t.Context(), kind.Claim{Node: n.name, Prefixes: n.lease, Epoch: n.epoch, Revision: n.revision})
	if claim := (kind.ClaimError{}); err == nil || errors.As(err, &claim) {
		defer w.model.hears(n.name, n.lease, w.model.clock)
	}
	if !w.told(n, got, err) || w.r.IntN(20) == 0 {
		return
	}
	if !w.settling || w.deaf || w.claim(n) {
		w.learns(n, got)
	}
}

// learns has an agent take what it was told of.
func (w *world) learns(n *agent, got []netip.Prefix) {
	if err := w.model.answers(n.name, got); err != nil {
		w.fail(err)
	}
	if n.lease == nil {
		w.given++
	}
	n.lease, n.deleted = got, ""
	w.look(n)
	n.note(w, "told")
}

// claim says what an agent knows of others otherwise than the store. It tells
// whether that was heard: else the agent comes again.
func (w *world) claim(n *agent) bool {
	var claims []kind.Claim
	for _, name := range slices.Sorted(maps.Keys(n.leases)) {
		other := w.named(name)
		here := other != nil && other.up && other.epoch == w.epoch
		if prefixes := n.leases[name]; name != n.name && !here && !slices.Equal(prefixes, w.store.leases[name]) {
			claims = append(claims, kind.Claim{Node: name, Prefixes: prefixes, Epoch: n.epoch, Revision: n.revision})
		}
	}
	w.r.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
	if _, _, err := w.learner.Adopt(w.t.Context(), claims); err != nil {
		return false
	}
	for _, c := range claims {
		w.model.hears(c.Node, c.Prefixes, n.at)
	}
	w.claimed += len(claims)
	return true
}

// told looks at an answer. It tells whether it was one.
func (w *world) told(n *agent, got []netip.Prefix, err error) bool {
	var claim kind.ClaimError
	switch {
	case err == nil:
		if err := w.model.promises(n.name, got); err != nil {
			w.fail(err)
		}
		return true
	case errors.As(err, &claim):
		w.ways++
		n.note(w, fmt.Sprint("way ", claim.Prefix, " ", claim.Owner, " ", claim.Disputed, " ", claim.Why))
		if w.model.lost == 0 && n.deleted == "" && len(w.model.of[n.name]) > 0 {
			w.fail(fmt.Errorf("nothing was ever lost, and %s, which holds all that it carries, was refused: %w", n.name, err))
		}
		w.resolve(claim)
	case errors.Is(err, ipam.ErrFull):
		w.full++
	case errors.Is(err, lease.ErrSettling):
	default:
		w.perhaps(n.name)
	}
	return false
}

// perhaps is an answer that was lost: what was written of a node by then stands.
func (w *world) perhaps(node string) {
	if !w.store.wrote[node] || !w.store.told(w.t.Context(), node) {
		return
	}
	if err := w.model.promises(node, w.store.leases[node]); err != nil {
		w.fail(err)
	}
}

func (w *world) named(name string) *agent {
	if i := slices.IndexFunc(w.agents, func(a *agent) bool { return a.name == name }); i >= 0 {
		return w.agents[i]
	}
	return nil
}
