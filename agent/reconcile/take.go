package reconcile

import (
	"context"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/note"
)

// table stands for all of nftables but for elements: sets, chains and rules
// refer to each other and are taken in one transaction, so they fail together.
var table = datapath.Key{Kind: datapath.KindChain, ID: "table inet " + datapath.Table}

// structural tells whether a step is one of those. To add an element is not:
// nothing refers to it.
func structural(op datapath.Op) bool {
	return op.Key().Kind >= datapath.KindSet && !element(op)
}

func element(op datapath.Op) bool {
	return op.Key().Kind == datapath.KindElement && op.New != nil
}

// firewallWaits tells whether the table's steps are not taken now.
func (l *Loop) firewallWaits(ops []datapath.Op, now time.Time, event bool) bool {
	any, broken := false, false
	for _, op := range ops {
		any = any || structural(op)
		broken = broken || structural(op) && !l.broken[op.Key()].IsZero()
	}
	p := l.past[table]
	if p == nil && broken {
		p = newPast(now)
		l.past[table] = p
	}
	// A step of the table is always another step: what differs is not told apart.
	return any && p != nil && !p.may(datapath.Op{New: marker{}}, now, event)
}

// marker is the object of a step about the whole table.
type marker struct{}

func (marker) Key() datapath.Key { return table }
func (marker) String() string    { return table.ID }

// take takes steps, remembers what became of each, and says what must be looked
// at again.
func (l *Loop) take(ctx context.Context, ops []datapath.Op) datapath.Kinds {
	errs := l.apply(ctx, ops)
	now := time.Now()
	var look datapath.Kinds
	var firewallErr error
	touched := false
	var heals []Heal
	for i, op := range ops {
		key := op.Key()
		if structural(op) {
			touched = true
			if errs[i] != nil && firewallErr == nil {
				firewallErr = errs[i]
			}
		}
		if errs[i] != nil {
			if !structural(op) {
				l.failed(key, op, errs[i], now)
			}
			continue
		}
		l.commit(op)
		heals = l.healed(heals, key, op, now)
		if !structural(op) && l.past[key] != nil {
			l.past[key].succeed()
		}
		if key.Kind == datapath.KindLink && op.Old != nil {
			look |= resting | datapath.Of(datapath.KindLink)
		}
	}
	l.noteHeals(heals)
	if firewallErr != nil {
		l.failed(table, datapath.Op{New: marker{}}, firewallErr, now)
	} else if touched && l.past[table] != nil {
		l.past[table].succeed()
	}
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
	if op.New == nil {
		delete(l.have, op.Old.Key())
	} else {
		l.have[op.New.Key()] = op.New
	}
}

// apply takes steps with a deadline. When the one transaction of nftables
// fails, its elements are told apart from its structure, and from each other.
func (l *Loop) apply(ctx context.Context, ops []datapath.Op) []error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Deadline)
	defer cancel()
	errs := l.cfg.Kernel.Apply(ctx, ops)
	var elements, rest []int
	for i, op := range ops {
		switch {
		case errs[i] == nil || op.Key().Kind < datapath.KindSet:
		case element(op):
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
