package tunnel

import (
	"sync"
	"sync/atomic"
)

// Default sizes of budgets, in bytes.
const (
	DefaultBudget        = 256 << 20 // of a process
	DefaultSessionBudget = 64 << 20
)

// overcommit is how many times its limit a budget promises to peers as windows:
// most streams are idle, and use nothing of what they were promised.
const overcommit = 4

// Budget bounds the bytes that streams of all sessions of a process hold. It counts
// two things: what is held, never above the limit; and what was promised to peers
// as windows, at most four times the limit. New windows are smaller when promises
// run short. If nevertheless more comes than may be held, the streams of which most
// was not read are reset: of the session that is beyond its own part, or of the
// one that holds most. It is safe for concurrent use.
type Budget struct {
	limit    int64
	parent   *Budget
	held     atomic.Int64
	promised atomic.Int64

	relieving atomic.Bool
	mu        sync.Mutex
	sessions  map[*Conn]struct{} // of a process
}

// NewBudget returns a budget of so many bytes; 0 means DefaultBudget.
func NewBudget(limit int64) *Budget {
	if limit <= 0 {
		limit = DefaultBudget
	}
	return &Budget{limit: limit}
}

// within returns a budget for a part, which counts against b as well.
func (b *Budget) within(limit int64) *Budget {
	return &Budget{limit: min(limit, b.limit), parent: b}
}

// Limit returns how many bytes may be held.
func (b *Budget) Limit() int64 { return b.limit }

// Held returns how many bytes are held.
func (b *Budget) Held() int64 { return b.held.Load() }

// Promised returns how many bytes peers may send without asking again.
func (b *Budget) Promised() int64 { return b.promised.Load() }

// hold counts n more bytes as held, or none and false if that is too many.
func (b *Budget) hold(n int64) bool {
	for at := b; at != nil; at = at.parent {
		if at.held.Add(n) > at.limit {
			for undo := b; ; undo = undo.parent {
				undo.held.Add(-n)
				if undo == at {
					return false
				}
			}
		}
	}
	return true
}

// holdAnyway counts n more bytes as held, whatever the limit.
func (b *Budget) holdAnyway(n int64) {
	for at := b; at != nil; at = at.parent {
		at.held.Add(n)
	}
}

func (b *Budget) drop(n int64) { b.holdAnyway(-n) }

// promise reserves n bytes of windows, or none and false if that is too many.
func (b *Budget) promise(n int64) bool {
	for at := b; at != nil; at = at.parent {
		if at.promised.Add(n) > at.limit*overcommit {
			for undo := b; ; undo = undo.parent {
				undo.promised.Add(-n)
				if undo == at {
					return false
				}
			}
		}
	}
	return true
}

func (b *Budget) forget(n int64) {
	for at := b; at != nil; at = at.parent {
		at.promised.Add(-n)
	}
}

// firstWindow reserves and returns the window of a new stream: what most paths can
// use while there is plenty, a part of what is left when there is not, and always
// enough for a terminal.
func (b *Budget) firstWindow() int64 {
	n := int64(firstWindow)
	for at := b; at != nil; at = at.parent {
		left := at.limit*overcommit - at.promised.Load()
		n = min(n, left/256)
	}
	if b.tight() {
		n = min(n, leastShare/4)
	}
	n = max(n&^(leastWindow-1), leastWindow)
	for at := b; at != nil; at = at.parent {
		at.promised.Add(n)
	}
	return n
}

// tight says whether half is used already: what is to be sent can wait where it
// comes from, what was promised cannot.
func (b *Budget) tight() bool {
	for at := b; at != nil; at = at.parent {
		if at.held.Load() > at.limit/2 {
			return true
		}
	}
	return false
}
