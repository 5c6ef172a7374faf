package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
)

// learning is what a node's lease becomes by what is said of it.
type learning struct {
	prefixes []netip.Prefix
	fresh    []netip.Prefix          // of prefixes: it had them not
	freed    []netip.Prefix          // it had them
	from     map[netip.Prefix]string // nodes that give way, by what of fresh they had
}

// errMissed is wrapped when what a node says it has went to another one before the
// store was lost, unknown to it: it had given it back.
var errMissed = errors.New("given to another since")

// learn decides what becomes of the lease of a node that comes with what it has. What
// it was not told of in this epoch, and does not carry, it does not use. It changes
// nothing.
func (b *book) learn(node string, said []netip.Prefix, w word) (learning, error) {
	h, there := b.held[node]
	l := learning{from: map[netip.Prefix]string{}}
	for _, is4 := range intent.Families(slices.Concat(b.spec.ClusterCIDRs, h.prefixes, said)) { // also one that the cluster has no range of any more
		carried, had := of(said, is4), of(h.prefixes, is4)
		if len(carried) == 0 {
			l.prefixes = append(l.prefixes, had...)
			continue
		}
		keeps := slices.ContainsFunc(carried, func(p netip.Prefix) bool { return slices.Contains(had, p) })
		if there && len(had) > 0 && !keeps && (h.told || b.older(h, had, w)) {
			return learning{}, kind.ClaimError{Node: node, Prefix: carried[0], Why: fmt.Sprintf("node %s was leased %v after that", node, had)}
		}
		taken, err := b.learnFamily(node, carried, had, w, &l)
		if err != nil {
			return learning{}, err
		}
		for _, p := range had {
			switch {
			case slices.Contains(taken, p):
			case h.told:
				taken = append(taken, p)
			default: // it does not use it
				l.freed = append(l.freed, p)
			}
		}
		l.prefixes = append(l.prefixes, taken...)
	}
	return l, nil
}

// older tells whether a word is older than all that a node's prefixes rest on: then
// who speaks is not who has them.
func (b *book) older(h holding, had []netip.Prefix, w word) bool {
	return !slices.ContainsFunc(had, func(p netip.Prefix) bool { return h.wordOf(p).before(w) })
}

// learnFamily takes what is said of one family, or says why it cannot.
func (b *book) learnFamily(node string, carried, had []netip.Prefix, w word, l *learning) (taken []netip.Prefix, err error) {
	var missed error
	for _, p := range carried {
		if slices.Contains(taken, p) {
			continue
		}
		if slices.Contains(had, p) {
			taken = append(taken, p)
			continue
		}
		from, err := b.way(node, p, w)
		if errors.Is(err, errMissed) {
			missed = err
			continue
		}
		if err != nil {
			return nil, err
		}
		if from != "" {
			l.from[p] = from
		}
		taken, l.fresh = append(taken, p), append(l.fresh, p)
	}
	if len(taken) == 0 {
		return nil, missed
	}
	return taken, nil
}

// way tells whether a node can have a prefix by a word, and which node has to give
// way. That is one whose lease rests on an older word, and that was not told of it.
func (b *book) way(node string, p netip.Prefix, w word) (from string, err error) {
	space, ok := b.space(p)
	if !ok || p != p.Masked() || p.Bits() != b.spec.MaskSize(p.Addr().Is4()) || b.isLoose(p) {
		return "", b.claimed(node, p)
	}
	if keeper, kept := b.keeper(p, node, w); kept {
		return "", kind.ClaimError{Node: node, Prefix: p, Owner: keeper}
	}
	if r, resting := b.rests[p]; resting {
		if r.Node == node || r.old {
			return "", nil
		}
		return "", b.claimed(node, p)
	}
	if !space.Overlaps(p) {
		return "", nil
	}
	for other, h := range b.held {
		if other == node || !slices.ContainsFunc(h.prefixes, p.Overlaps) {
			continue
		}
		switch {
		case !h.told && h.wordOf(p).before(w) && slices.Contains(h.prefixes, p):
			return other, nil
		case b.past.follows(h.wordOf(p), w):
			return "", fmt.Errorf("%w: %w", errMissed, kind.ClaimError{Node: node, Prefix: p, Owner: other})
		}
	}
	return "", b.claimed(node, p)
}

// apply takes and frees what was learned; the lease itself is for the caller.
func (b *book) apply(l learning) {
	for _, p := range l.fresh {
		if other, ok := l.from[p]; ok {
			b.touch(other)
			h := b.held[other].without(p)
			b.held[other] = h
			if len(h.prefixes) == 0 {
				delete(b.held, other)
			}
			continue // it stays taken
		}
		if _, resting := b.rests[p]; resting {
			b.wake(p)
		}
		if space, ok := b.space(p); !ok || space.Take(p) != nil {
			b.loose = append(b.loose, p) // cannot be, but then nobody else is given it
		}
	}
	for _, p := range l.freed { // no rest: whoever has it claims it
		if space, ok := b.space(p); ok {
			space.Free(p)
		}
	}
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
