package push

import (
	"cmp"
	"slices"
)

// ref names an object.
type ref struct{ collection, key string }

func (r ref) compare(o ref) int {
	return cmp.Or(cmp.Compare(r.collection, o.collection), cmp.Compare(r.key, o.key))
}

// history is which objects changed when, bounded: after floor it is complete.
type history struct {
	limit int
	floor int64
	log   []change // by revision
}

type change struct {
	rev int64
	ref ref
}

func (h *history) add(rev int64, r ref) {
	h.log = append(h.log, change{rev, r})
	if len(h.log) > 2*h.limit {
		h.trim(len(h.log) - h.limit)
	}
}

// trim forgets the oldest n changes. What shares the last one's revision is then
// incomplete too, so the floor is that revision.
func (h *history) trim(n int) {
	h.floor = h.log[n-1].rev
	h.log = append(make([]change, 0, 2*h.limit+1), h.log[n:]...)
}

// since lists what changed after a revision. It answers false if it does not
// know any more.
func (h *history) since(rev int64) ([]ref, bool) {
	if rev < h.floor {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(h.log, rev+1, func(c change, rev int64) int { return cmp.Compare(c.rev, rev) })
	out := make([]ref, 0, len(h.log)-i)
	for _, c := range h.log[i:] {
		out = append(out, c.ref)
	}
	return out, true
}
