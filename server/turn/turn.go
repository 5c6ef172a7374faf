package turn

import (
	"sync"
	"time"
)

// Bounds on those that come.
const (
	rate        = 250 // a second
	burst       = 100
	longestWait = 30 * time.Second
)

// Line is a bucket of tokens; who finds none is told when to come again, each after
// the one before, so that they do not come together then. The zero value is a full one.
type Line struct {
	mu      sync.Mutex
	full    time.Time // when the bucket is full again
	promise time.Time // to the last who was sent away
}

// Come lets one in, or says in how many seconds it shall come again.
func (l *Line) Come(now time.Time) (again time.Duration, in bool) {
	const each = time.Second / rate
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full.Before(now) {
		l.full = now
	}
	if l.full.Sub(now)+each <= burst*each {
		l.full = l.full.Add(each)
		return 0, true
	}
	if least := now.Add(time.Second); l.promise.Before(least) {
		l.promise = least
	}
	l.promise = l.promise.Add(each)
	if last := now.Add(longestWait); l.promise.After(last) {
		l.promise = last
	}
	// Retry-After counts whole seconds (RFC 9110, section 10.2.3).
	return (l.promise.Sub(now) + time.Second - 1).Truncate(time.Second), false
}
