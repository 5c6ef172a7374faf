package egress

import (
	"sync"
	"time"
)

// Bounds on tunnels that come: a thousand agents whose server was restarted are back
// within seconds, and none of the rest is late for it.
const (
	arrivalsRate  = 250 // a second
	arrivalsBurst = 100
	longestWait   = 30 * time.Second
)

// arrivals is a bucket of tokens; who finds none is told when to come again, each
// after the one before, so that they do not come together then. It is safe for
// concurrent use.
type arrivals struct {
	mu      sync.Mutex
	full    time.Time // when the bucket is full again
	promise time.Time // to the last who was sent away
}

// come lets one in, or says in how many seconds it shall come again.
func (a *arrivals) come(now time.Time) (again time.Duration, in bool) {
	const each = time.Second / arrivalsRate
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full.Before(now) {
		a.full = now
	}
	if a.full.Sub(now)+each <= arrivalsBurst*each {
		a.full = a.full.Add(each)
		return 0, true
	}
	if least := now.Add(time.Second); a.promise.Before(least) {
		a.promise = least
	}
	a.promise = a.promise.Add(each)
	if last := now.Add(longestWait); a.promise.After(last) {
		a.promise = last
	}
	// Retry-After counts whole seconds (RFC 9110, section 10.2.3).
	return (a.promise.Sub(now) + time.Second - 1).Truncate(time.Second), false
}
