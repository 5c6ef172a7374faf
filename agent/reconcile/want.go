package reconcile

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/agent/datapath"
)

// wanted is the last plan, merged. Parts that did not change keep their keys,
// so that a pod's arrival costs nothing for each of a thousand peers' objects
// but one copy.
type wanted struct {
	planned  bool
	parts    []part
	state    datapath.State
	complete bool
	revision int64
}

// part is what one producer wants.
type part struct {
	objects []datapath.Object
	state   datapath.State
	alias   map[datapath.Key]datapath.Key // canonical keys of objects written otherwise
}

// replan asks what should be. A plan that fails, or that contradicts itself,
// leaves the last one standing. It tells whether the plan is another.
func (l *Loop) replan(ctx context.Context) (bool, error) {
	plan, err := l.cfg.Plan(ctx)
	changed := false
	if err == nil {
		changed, err = l.want.set(plan)
	}
	l.planErr.note(err)
	if err != nil {
		return false, fmt.Errorf("reconcile: plan: %w", err)
	}
	return changed, nil
}

func (w *wanted) set(plan Want) (bool, error) {
	lists := append([][]datapath.Object{plan.Objects}, plan.Parts...)
	parts := make([]part, len(lists))
	changed := !w.planned || len(parts) != len(w.parts)
	for i, objects := range lists {
		if i < len(w.parts) && identical(objects, w.parts[i].objects) {
			parts[i] = w.parts[i]
			continue
		}
		p, err := newPart(objects)
		if err != nil {
			return false, err
		}
		parts[i], changed = p, true
	}
	if changed {
		state, err := merge(parts)
		if err != nil {
			return false, err
		}
		w.parts, w.state = parts, state
	}
	changed = changed || w.complete != plan.Complete || w.revision != plan.Revision
	w.complete, w.revision, w.planned = plan.Complete, plan.Revision, true
	return changed, nil
}

func identical(a, b []datapath.Object) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func newPart(objects []datapath.Object) (part, error) {
	p := part{objects: objects, state: make(datapath.State, len(objects))}
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
			return part{}, err
		}
	}
	return p, nil
}

func merge(parts []part) (datapath.State, error) {
	n := 0
	for _, p := range parts {
		n += len(p.state)
	}
	out := make(datapath.State, n)
	for _, p := range parts {
		for k, o := range p.state {
			if err := put(out, k, o); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func put(s datapath.State, k datapath.Key, o datapath.Object) error {
	if have, ok := s[k]; ok && have != o {
		return fmt.Errorf("two producers want different things: %q and %q", have, o)
	}
	s[k] = o
	return nil
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

// differs tells quickly whether there is anything to do at all.
func (w *wanted) differs(have datapath.State) bool {
	for k, o := range w.state {
		if h, ok := have[k]; !ok || o != h && !same(k, o, h) {
			return true
		}
	}
	for k := range have {
		if _, ok := w.state[k]; !ok && k.Kind != datapath.KindSysctl {
			return true
		}
	}
	return false
}

// same asks Diff about one object: what a device leaves open is not a
// difference.
func same(k datapath.Key, want, have datapath.Object) bool {
	return len(datapath.Diff(datapath.State{k: want}, datapath.State{k: have})) == 0
}
