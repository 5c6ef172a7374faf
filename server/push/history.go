package push

import (
	"cmp"
	"slices"

	"github.com/weft-net/weft/server/compile"
)

// ref names an object.
type ref struct{ collection, key string }

func (r ref) compare(o ref) int {
	return cmp.Or(cmp.Compare(r.collection, o.collection), cmp.Compare(r.key, o.key))
}

// history is which objects changed when, bounded and one for all streams: each has
// a place in it, up to which its agent was told. After floor it is complete.
type history struct {
	limit int
	floor int64
	first uint64 // number of the first change that is kept
	log   []change
}

// change of an object, which concerned some nodes before and some after.
type change struct {
	rev     int64
	ref     ref
	was, is compile.Audience
}

// of tells whether a change concerns a node.
func (c change) of(node string) bool { return c.was.Has(node) || c.is.Has(node) }

// end is the place after all changes.
func (h *history) end() uint64 { return h.first + uint64(len(h.log)) }

func (h *history) add(c change) {
	h.log = append(h.log, c)
	if len(h.log) > 2*h.limit {
		h.trim(len(h.log) - h.limit)
	}
}

// trim forgets the oldest n changes. What shares the last one's revision is then
// incomplete too, so the floor is that revision.
func (h *history) trim(n int) {
	h.floor = h.log[n-1].rev
	h.first += uint64(n)
	h.log = append(make([]change, 0, 2*h.limit+1), h.log[n:]...)
}

// after is the place of the first change after a revision. It answers false if
// that is not known any more.
func (h *history) after(rev int64) (place uint64, ok bool) {
	if rev < h.floor {
		return 0, false
	}
	i, _ := slices.BinarySearchFunc(h.log, rev+1, func(c change, rev int64) int { return cmp.Compare(c.rev, rev) })
	return h.first + uint64(i), true
}

// from lists the changes from a place on. It answers false if some of them are
// forgotten.
func (h *history) from(place uint64) ([]change, bool) {
	if place < h.first || place > h.end() {
		return nil, false
	}
	return h.log[place-h.first:], true
}
