package reconcile

import (
	"context"
	"log/slog"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/note"
)

// unit is what stands or falls with a step: a chain with all its rules, which the
// kernel takes together or not at all, or else the object alone.
func unit(op datapath.Op) datapath.Key {
	o := op.New
	if o == nil {
		o = op.Old
	}
	switch o := o.(type) {
	case datapath.Rule:
		return datapath.Chain{Name: o.Chain}.Key()
	case datapath.ForeignRule:
		return datapath.Chain{Name: o.Chain}.Key()
	}
	return o.Key()
}

// whole is a step as a unit's past knows it: one step of a chain is as good as
// another.
func whole(op datapath.Op) datapath.Op {
	if k := unit(op); k.Kind == datapath.KindChain {
		return datapath.Op{New: datapath.Chain{Name: k.ID}}
	}
	return op
}

// take takes steps, remembers what became of each, and says what must be looked
// at again.
func (l *Loop) take(ctx context.Context, ops []datapath.Op) datapath.Kinds {
	errs := l.apply(ctx, ops)
	now := time.Now()
	debug := l.cfg.Log.Enabled(ctx, slog.LevelDebug) // a text for each of thousands is dear
	var look datapath.Kinds
	var heals []Heal
	failed := map[datapath.Key]bool{}
	for i, op := range ops {
		key := op.Key()
		if errs[i] != nil {
			if u := unit(op); !failed[u] {
				failed[u] = true
				l.failed(u, whole(op), errs[i], now)
			}
			continue
		}
		l.commit(op)
		if debug {
			l.cfg.Log.Debug("step taken", note.Op, op.String())
		}
		heals = l.healed(heals, key, op, now)
		if key.Kind == datapath.KindLink && op.Old != nil {
			look |= resting | datapath.Of(datapath.KindLink)
		}
	}
	for _, op := range ops {
		if u := unit(op); !failed[u] && l.past[u] != nil {
			l.past[u].succeed()
		}
	}
	l.noteHeals(heals)
	return look
}

func (l *Loop) failed(key datapath.Key, op datapath.Op, err error, now time.Time) {
	p := l.past[key]
	if p == nil {
		p = newPast(now)
		l.past[key] = p
	}
	fresh := p.err == nil || op != p.op
	p.fail(op, err, now)
	if fresh {
		l.cfg.Log.Warn("step failed", note.Op, op.String(), note.Err, err, note.Retry, time.Until(p.next))
	} else {
		l.cfg.Log.Debug("step failed again", note.Op, op.String(), note.Err, err, note.Retry, time.Until(p.next))
	}
}

func (l *Loop) commit(op datapath.Op) {
	l.open.key(op.Key())
	if op.New == nil {
		delete(l.have, op.Old.Key())
	} else {
		l.have[op.New.Key()] = op.New
	}
}

// apply takes steps with a deadline. When the transaction of nftables fails, its
// elements are told apart from its structure, and from each other.
func (l *Loop) apply(ctx context.Context, ops []datapath.Op) []error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Deadline)
	defer cancel()
	errs := l.cfg.Kernel.Apply(ctx, ops)
	var elements, rest []int
	for i, op := range ops {
		switch {
		case errs[i] == nil || op.Key().Kind < datapath.KindSet:
		case op.Key().Kind == datapath.KindElement:
			elements = append(elements, i)
		default:
			rest = append(rest, i)
		}
	}
	if len(elements) == 0 || len(elements)+len(rest) == 1 {
		return errs
	}
	s := sorter{ctx: ctx, kernel: l.cfg.Kernel, ops: ops, errs: errs, budget: 64}
	if len(rest) == 0 || s.try(rest) {
		s.halves(elements)
	}
	return errs
}

// sorter finds the culprits of a transaction that failed.
type sorter struct {
	ctx    context.Context
	kernel Kernel
	ops    []datapath.Op
	errs   []error
	budget int // transactions
}

// try takes some of the steps in a transaction of their own.
func (s *sorter) try(at []int) bool {
	s.budget--
	batch := make([]datapath.Op, len(at))
	for i, j := range at {
		batch[i] = s.ops[j]
	}
	ok := true
	for i, err := range s.kernel.Apply(s.ctx, batch) {
		s.errs[at[i]] = err
		ok = ok && err == nil
	}
	return ok
}

// halves splits steps until the bad ones stand alone, or the budget is spent.
func (s *sorter) halves(at []int) {
	if len(at) == 0 || s.budget <= 0 || s.try(at) || len(at) == 1 {
		return
	}
	s.halves(at[:len(at)/2])
	s.halves(at[len(at)/2:])
}
