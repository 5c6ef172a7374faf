package journal

import (
	"sync"
	"time"
)

// How long alike ones are counted together, and of how many different ones that
// is remembered.
const (
	window   = time.Minute
	maxFolds = 4096
)

// folds count what repeats itself: the first is told at once, what follows within
// a window is told as a number when it ends.
type folds[K comparable] struct {
	mu   sync.Mutex
	open map[K]*fold
}

type fold struct {
	first time.Time // of those that are counted, not of the one told
	last  time.Time
	count int
	ends  time.Time
}

func newFolds[K comparable]() *folds[K] { return &folds[K]{open: map[K]*fold{}} }

// again tells whether one like it was told within the window. Then it is counted.
func (f *folds[K]) again(k K, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[k]
	if o == nil {
		if len(f.open) < maxFolds {
			f.open[k] = &fold{ends: now.Add(window)}
		}
		return false
	}
	if o.count == 0 {
		o.first = now
	}
	o.last = now
	o.count++
	return true
}

// ended hands out what was counted in windows that are over. One in which
// something was counted opens the next.
func (f *folds[K]) ended(now time.Time, tell func(K, fold)) {
	f.mu.Lock()
	over := map[K]fold{}
	for k, o := range f.open {
		switch {
		case now.Before(o.ends):
		case o.count == 0:
			delete(f.open, k)
		default:
			over[k] = *o
			*o = fold{ends: now.Add(window)}
		}
	}
	f.mu.Unlock()
	for k, o := range over {
		tell(k, o)
	}
}

// len is how many windows are open.
func (f *folds[K]) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}
