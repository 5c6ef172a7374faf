package reconcile

import (
	"slices"

	"github.com/weft-net/weft/agent/datapath"
)

// Pause stops healing, or starts it again. While it is stopped, what others change
// stays as they made it: each look marks the objects that are other than our last
// commit, and no turn takes a step for a mark. What is wanted otherwise, and what
// Sync is asked for, is done as ever. Objects that were never seen since the start
// are no marks: what is missing then is made.
func (l *Loop) Pause(on bool) {
	if l.paused.Swap(on) && !on {
		l.Kick(datapath.AllKinds)
	}
}

// Untouched is how many objects are other than they should be because healing is
// paused.
func (l *Loop) Untouched() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.untouched
}

// spare begins a turn: once healing is on again, nothing is marked.
func (l *Loop) spare() {
	if !l.paused.Load() && len(l.marks) > 0 {
		l.marks = nil
		l.open.everything()
	}
}

// mark notes an object that somebody else changed.
func (l *Loop) mark(k datapath.Key) {
	if !l.seen || !l.paused.Load() {
		return
	}
	if l.marks == nil {
		l.marks = map[datapath.Key]bool{}
	}
	l.marks[k] = true
}

// unmarked leaves out the steps for marks.
func (l *Loop) unmarked(ops []datapath.Op) []datapath.Op {
	if len(l.marks) == 0 {
		return ops
	}
	return slices.DeleteFunc(ops, func(op datapath.Op) bool { return l.marks[op.Key()] })
}

// countUntouched is how many marks are not as they should be.
func (l *Loop) countUntouched() int {
	n := 0
	for k := range l.marks {
		w, wanted := l.want.state[k]
		h, had := l.have[k]
		if wanted != had || wanted && w != h && !same(k, w, h) {
			n++
		}
	}
	return n
}
