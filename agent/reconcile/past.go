package reconcile

import (
	"math/rand/v2"
	"time"

	"github.com/weft-net/weft/agent/datapath"
)

// How patient the loop is with one object.
const (
	burst     = 32 // healings or tries at once
	perSecond = 1  // and then
	calm      = 16 // seconds in which nobody undoes it, after which a fight is over
	addFirst  = 100 * time.Millisecond
	addLast   = 30 * time.Second
	delFirst  = time.Second
	delLast   = time.Minute
)

// bucket bounds how often something is done: burst times at once, and then once a
// second.
type bucket struct {
	tokens float64
	filled time.Time
}

func (b *bucket) fill(now time.Time) {
	b.tokens = min(burst, b.tokens+now.Sub(b.filled).Seconds()*perSecond)
	b.filled = now
}

// take tells whether it may be done now, or else in how long.
func (b *bucket) take(now time.Time) (ok bool, wait time.Duration) {
	b.fill(now)
	if b.tokens >= 1 {
		b.tokens--
		return true, 0
	}
	return false, time.Duration((1-b.tokens)/perSecond*float64(time.Second)) + time.Millisecond // never a whisker too early
}

// past is what happened to one object that was not simply made and left alone.
type past struct {
	op     datapath.Op // the last step
	err    error       // of it
	since  time.Time   // first failure in a row
	delay  time.Duration
	next   time.Time // earliest try without an event; zero: none is due
	heals  bucket    // of what somebody undid
	tries  bucket    // of what failed, or is to be otherwise: nobody's doing but ours
	fought time.Time // since when somebody undoes it again and again, so that it waits its turn; zero: nobody
	undone int       // healings since it was last left alone
}

func newPast(now time.Time) *past {
	full := bucket{tokens: burst, filled: now}
	return &past{heals: full, tries: full}
}

func (p *past) fill(now time.Time) {
	p.heals.fill(now)
	p.tries.fill(now)
	if !p.fought.IsZero() && p.heals.tokens >= calm*perSecond {
		p.fought, p.undone = time.Time{}, 0
	}
}

// due is when there is something to do, or to tell, without an event; zero: never.
func (p *past) due() time.Time {
	if p.fought.IsZero() {
		return p.next
	}
	over := p.heals.filled.Add(time.Duration((calm-p.heals.tokens)/perSecond*float64(time.Second)) + time.Millisecond)
	if p.next.IsZero() || over.Before(p.next) {
		return over
	}
	return p.next
}

// heal tells whether what somebody undid is put back now. If it is not, they fight us.
func (p *past) heal(now time.Time) bool {
	p.fill(now)
	ok, wait := p.heals.take(now)
	switch {
	case ok:
		p.undone++
		return true
	case p.fought.IsZero():
		p.fought = now
	}
	p.next = now.Add(wait)
	return false
}

// try tells whether another try is made now.
func (p *past) try(now time.Time) bool {
	p.fill(now)
	ok, wait := p.tries.take(now)
	if !ok {
		p.next = now.Add(wait)
	}
	return ok
}

// may tells whether a step is taken now. What somebody undid is put back. What failed
// waits for its time; to make something, any event is a reason to try before that,
// because what it rests on may be there now.
func (p *past) may(op datapath.Op, now time.Time, event, undone bool) bool {
	switch {
	case p.err == nil && undone:
		return p.heal(now)
	case p.err == nil || op != p.op:
		return p.try(now)
	case !now.Before(p.next):
		return true
	}
	return event && op.New != nil && p.try(now)
}

// fail plans the next try.
func (p *past) fail(op datapath.Op, err error, now time.Time) {
	first, last := addFirst, addLast
	if op.New == nil {
		first, last = delFirst, delLast
	}
	if p.err == nil || op != p.op {
		p.since, p.delay = now, 0
	}
	p.delay = min(max(2*p.delay, first), last)
	p.op, p.err = op, err
	p.next = now.Add(p.delay*4/5 + rand.N(p.delay*2/5))
}

// succeed forgets a failure.
func (p *past) succeed() {
	p.op, p.err, p.delay, p.next = datapath.Op{}, nil, 0, time.Time{}
}

// idle tells whether there is nothing left to remember.
func (p *past) idle(now time.Time) bool {
	p.fill(now)
	return p.err == nil && p.heals.tokens >= burst && p.tries.tokens >= burst
}

// fault is an error of the loop itself, not of one object.
type fault struct {
	err   error
	since time.Time
	next  time.Time
	delay time.Duration
}

func (f *fault) note(err error) {
	now := time.Now()
	if err == nil {
		*f = fault{}
		return
	}
	if f.err == nil {
		f.since = now
	}
	f.err = err
	f.delay = min(max(2*f.delay, addFirst), addLast)
	f.next = now.Add(f.delay)
}
