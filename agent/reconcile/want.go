package reconcile

import (
	"context"
	"fmt"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
)

// wanted is the last plan, merged. Parts that did not change keep their keys, and
// what they brought into the whole, so that a peer's arrival costs nothing for
// each object of a thousand others.
type wanted struct {
	planned  bool
	parts    []*part
	state    datapath.State
	more     map[datapath.Key]int // further producers of a key, if there are any
	complete bool
	keep     func(datapath.Object) bool // nil: nothing
	revision int64
}

// part is what one producer wants.
type part struct {
	objects []datapath.Object
	state   datapath.State
	alias   map[datapath.Key]datapath.Key // canonical keys of objects written otherwise
}

// replan asks what should be, and opens what is wanted otherwise than before. A
// plan that fails, or that contradicts itself, leaves the last one standing.
func (l *Loop) replan(ctx context.Context) error {
	plan, err := l.cfg.Plan(ctx)
	if err == nil {
		err = l.want.set(plan, l.open)
	}
	l.planErr.note(err)
	if err != nil {
		return fmt.Errorf("reconcile: plan: %w", err)
	}
	return nil
}

// set takes a plan, and opens the keys whose objects are others.
func (w *wanted) set(plan Want, open *open) error {
	parts, fresh, gone, err := w.compare(append([][]datapath.Object{plan.Objects}, plan.Parts...))
	if err != nil {
		return err
	}
	if err := w.agree(fresh, gone); err != nil {
		return err
	}
	for _, p := range gone {
		for k := range p.state {
			open.key(k)
			if w.more[k] > 0 {
				w.lower(k)
			} else {
				delete(w.state, k)
			}
		}
	}
	if w.state == nil {
		w.state, w.more = datapath.State{}, map[datapath.Key]int{}
	}
	for _, p := range fresh {
		for k, o := range p.state {
			open.key(k)
			if _, there := w.state[k]; there {
				w.more[k]++
			}
			w.state[k] = o
		}
	}
	if w.complete != plan.Complete || (w.keep == nil) != (plan.Keep == nil) {
		open.everything()
	}
	w.keep = plan.Keep
	w.parts, w.complete, w.revision, w.planned = parts, plan.Complete, plan.Revision, true
	return nil
}

func (w *wanted) lower(k datapath.Key) {
	if w.more[k]--; w.more[k] == 0 {
		delete(w.more, k)
	}
}

// place is where a list lies in memory.
type place struct {
	first *datapath.Object
	n     int
}

func placeOf(objects []datapath.Object) place { return place{&objects[0], len(objects)} }

// compare finds the parts of a plan among those of the last, by their place in
// memory, or by what they hold where a producer has made the same list again.
func (w *wanted) compare(lists [][]datapath.Object) (all, fresh, gone []*part, err error) {
	last := make(map[place]*part, len(w.parts)) // nil where it was found
	for _, p := range w.parts {
		last[placeOf(p.objects)] = p
	}
	others := map[datapath.Object][]datapath.Object{} // by what they begin with
	var order []datapath.Object
	all = make([]*part, 0, len(lists))
	for _, objects := range lists {
		if len(objects) == 0 {
			continue
		}
		at := placeOf(objects)
		p, known := last[at]
		last[at] = nil
		switch {
		case p != nil:
			all = append(all, p)
		case !known && others[objects[0]] == nil:
			others[objects[0]] = objects
			order = append(order, objects[0])
		case !known: // two lists that begin alike: not worth a second try
			p, err := newPart(objects)
			if err != nil {
				return nil, nil, nil, err
			}
			all, fresh = append(all, p), append(fresh, p)
		}
	}
	for _, p := range w.parts {
		if last[placeOf(p.objects)] == nil {
			continue
		}
		if slices.Equal(others[p.objects[0]], p.objects) {
			delete(others, p.objects[0])
			all = append(all, p)
			continue
		}
		gone = append(gone, p)
	}
	for _, first := range order {
		objects := others[first]
		if objects == nil {
			continue
		}
		p, err := newPart(objects)
		if err != nil {
			return nil, nil, nil, err
		}
		all, fresh = append(all, p), append(fresh, p)
	}
	return all, fresh, gone, nil
}

// agree refuses two producers with one key and different values.
func (w *wanted) agree(fresh, gone []*part) error {
	left := map[datapath.Key]int{} // producers of a key that go
	for _, p := range gone {
		for k := range p.state {
			left[k]++
		}
	}
	came := datapath.State{}
	for _, p := range fresh {
		for k, o := range p.state {
			if have, stays := w.state[k]; stays && 1+w.more[k] > left[k] && have != o {
				return contradiction(have, o)
			}
			if err := put(came, k, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func newPart(objects []datapath.Object) (*part, error) {
	p := &part{objects: objects, state: make(datapath.State, len(objects))}
	for _, o := range objects {
		c := datapath.Canonical(o)
		key := c.Key()
		if c != o {
			if p.alias == nil {
				p.alias = map[datapath.Key]datapath.Key{}
			}
			p.alias[o.Key()] = key
		}
		if err := put(p.state, key, c); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func put(s datapath.State, k datapath.Key, o datapath.Object) error {
	if have, ok := s[k]; ok && have != o {
		return contradiction(have, o)
	}
	s[k] = o
	return nil
}

func contradiction(a, b datapath.Object) error {
	return fmt.Errorf("two producers want different things: %q and %q", a, b)
}

// canonical is the key under which an object stands in wanted.state.
func (w *wanted) canonical(k datapath.Key) datapath.Key {
	for _, p := range w.parts {
		if c, ok := p.alias[k]; ok {
			return c
		}
	}
	return k
}

// same asks Diff about one object: what a device leaves open is not a
// difference.
func same(k datapath.Key, want, have datapath.Object) bool {
	return len(datapath.Diff(datapath.State{k: want}, datapath.State{k: have})) == 0
}
