package reconcile

import (
	"context"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/note"
)

// looks is how often one turn looks before it says that somebody fights it.
const looks = 3

// resting is what goes away with a device, without a word from the kernel for
// IPv4 routes.
var resting = datapath.Of(datapath.KindSysctl, datapath.KindAddr, datapath.KindNeigh, datapath.KindFDB, datapath.KindRoute)

// turn makes the kernel as it should be. Without an event it is one of the
// loop's own: a slow look, or a retry.
func (l *Loop) turn(ctx context.Context, event bool) {
	began := time.Now()
	kicked := began
	if ns := l.since.Swap(0); ns != 0 {
		kicked = time.Unix(0, ns)
	}
	dirty := datapath.Kinds(l.dirty.Swap(0))
	if !l.seen || !began.Before(l.lookAt) {
		dirty = datapath.AllKinds
	}
	l.spare()
	planErr := l.replan(ctx)
	l.again, l.fights = time.Time{}, nil
	ok, taken := l.settle(ctx, dirty, kicked, event)
	l.endTurn(ok && planErr == nil && l.want.planned)
	if taken > 0 {
		l.cfg.Log.Debug("turn ended", note.Took, time.Since(began), note.Op, taken, note.Rev, l.want.revision)
	}
}

// settle looks and takes steps until there are none left. It tells whether the
// kernel was seen, and how many objects were touched.
func (l *Loop) settle(ctx context.Context, dirty datapath.Kinds, kicked time.Time, event bool) (bool, int) {
	taken := map[datapath.Key]bool{}
	var twice []datapath.Op
	for range looks {
		if !l.look(ctx, dirty, kicked) {
			return false, len(taken)
		}
		ops := l.steps(event, time.Now())
		if len(ops) == 0 {
			return true, len(taken)
		}
		twice = l.twice(ops, taken)
		dirty = l.take(ctx, ops) | datapath.Kinds(l.dirty.Swap(0))
		if dirty == 0 {
			return true, len(taken)
		}
	}
	l.dirty.Or(uint32(dirty))
	l.fights, l.again = twice, time.Now().Add(time.Second)
	return true, len(taken)
}

// twice picks the steps that were taken in this turn before, and remembers all.
// Their objects have a past from now on, which bounds how often they are touched.
func (l *Loop) twice(ops []datapath.Op, taken map[datapath.Key]bool) []datapath.Op {
	var out []datapath.Op
	for _, op := range ops {
		key := op.Key()
		if taken[key] {
			out = append(out, op)
			if u := unit(op); l.past[u] == nil {
				l.past[u] = newPast(time.Now())
			}
		}
		taken[key] = true
	}
	return out
}

// look makes have true again for some kinds.
func (l *Loop) look(ctx context.Context, kinds datapath.Kinds, kicked time.Time) bool {
	if kinds == 0 {
		return l.seen
	}
	got, err := l.observe(ctx, kinds)
	if rest := resting &^ kinds; err == nil && rest != 0 && l.seen && l.devicesDiffer(kinds, got) {
		var more datapath.State
		if more, err = l.observe(ctx, rest); err == nil {
			for k, o := range more {
				got[k] = o
			}
			kinds |= rest
		}
	}
	l.lookErr.note(err)
	if err != nil {
		l.dirty.Or(uint32(kinds))
		l.cfg.Log.Warn("kernel not seen", note.Err, err, note.Retry, time.Until(l.lookErr.next))
		return false
	}
	l.findBroken(kinds, got, kicked)
	for k := range l.have {
		if _, ok := got[k]; !ok && kinds.Has(k.Kind) {
			l.mark(k)
			delete(l.have, k)
			l.open.key(k)
		}
	}
	for k, o := range got {
		if h := l.have[k]; h != o {
			if h == nil || !same(k, h, o) {
				l.mark(k)
			}
			l.have[k] = o
			l.open.key(k)
		}
	}
	if kinds == datapath.AllKinds {
		l.seen = true
		l.lookAt = time.Now().Add(spread(l.cfg.SlowLook))
	}
	return true
}

func (l *Loop) observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Deadline)
	defer cancel()
	return l.cfg.Kernel.Observe(ctx, kinds)
}

// devicesDiffer tells whether a device that we knew is another now.
func (l *Loop) devicesDiffer(kinds datapath.Kinds, got datapath.State) bool {
	if !kinds.Has(datapath.KindLink) {
		return false
	}
	for k, h := range l.have {
		if o, ok := got[k]; k.Kind == datapath.KindLink && (!ok || o != h && !same(k, h, o)) {
			return true
		}
	}
	return false
}

// findBroken remembers what was as it should be and is no more.
func (l *Loop) findBroken(kinds datapath.Kinds, got datapath.State, kicked time.Time) {
	if !l.seen {
		return
	}
	for k, h := range l.have {
		if !kinds.Has(k.Kind) || got[k] == h {
			continue
		}
		w, wanted := l.want.state[k]
		if wanted && (w == h || same(k, w, h)) && (got[k] == nil || !same(k, w, got[k])) && l.broken[k].IsZero() {
			l.broken[k] = kicked
		}
	}
}

// steps are the steps to take now.
func (l *Loop) steps(event bool, now time.Time) []datapath.Op {
	var due []datapath.Op
	if l.want.planned {
		due = l.unmarked(l.diff())
	}
	l.forget(due, now)
	// What is undone has a past from now on.
	undone := map[datapath.Key]bool{}
	for _, op := range due {
		if l.broken[op.Key()].IsZero() {
			continue
		}
		u := unit(op)
		if undone[u] = true; l.past[u] == nil {
			l.past[u] = newPast(now)
		}
	}
	may := map[datapath.Key]bool{} // one answer a unit
	return slices.DeleteFunc(due, func(op datapath.Op) bool {
		u := unit(op)
		p := l.past[u]
		if p == nil {
			return false
		}
		ok, asked := may[u]
		if !asked {
			ok = p.may(whole(op), now, event, undone[u])
			may[u] = ok
		}
		return !ok
	})
}

// forget drops failures of steps that nobody wants any more.
func (l *Loop) forget(ops []datapath.Op, now time.Time) {
	left := make(map[datapath.Key]bool, len(ops))
	for _, op := range ops {
		left[op.Key()], left[unit(op)] = true, true
	}
	for k, p := range l.past {
		if !left[k] {
			p.succeed()
		}
		if p.idle(now) {
			delete(l.past, k)
		}
	}
	for k := range l.broken {
		if !left[k] {
			delete(l.broken, k)
		}
	}
}

// endTurn publishes what became of the turn.
func (l *Loop) endTurn(reached bool) {
	problems, untouched := l.findProblems(time.Now()), l.countUntouched()
	l.mu.Lock()
	if reached {
		l.applied = l.want.revision
	}
	l.problems, l.untouched = problems, untouched
	l.mu.Unlock()
	if l.cfg.OnTurn != nil {
		l.cfg.OnTurn()
	}
}
