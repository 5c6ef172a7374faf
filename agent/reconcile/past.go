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

// past is what happened to one object that was not simply made and left alone.
type past struct {
	op     datapath.Op // the last step
	err    error       // of it
	since  time.Time   // first failure in a row
	delay  time.Duration
	next   time.Time // earliest try without an event; zero: none is due
	tokens float64
	filled time.Time
	fought time.Time // since when somebody undoes it again and again, so that it waits its turn; zero: nobody
	tries  int       // healings and tries since it was last left alone
}

func newPast(now time.Time) *past { return &past{tokens: burst, filled: now} }

func (p *past) fill(now time.Time) {
	p.tokens = min(burst, p.tokens+now.Sub(p.filled).Seconds()*perSecond)
	p.filled = now
	if !p.fought.IsZero() && p.tokens >= calm*perSecond {
		p.fought, p.tries = time.Time{}, 0
	}
}

// due is when there is something to do, or to tell, without an event; zero: never.
func (p *past) due() time.Time {
	if p.fought.IsZero() {
		return p.next
	}
	over := p.filled.Add(time.Duration((calm-p.tokens)/perSecond*float64(time.Second)) + time.Millisecond)
	if p.next.IsZero() || over.Before(p.next) {
		return over
	}
	return p.next
}

// take uses up one try. Without any left it says when there is one again.
func (p *past) take(now time.Time) bool {
	p.fill(now)
	if p.tokens >= 1 {
		p.tokens--
		p.tries++
		return true
	}
	if p.fought.IsZero() {
		p.fought = now
	}
	wait := time.Duration((1 - p.tokens) / perSecond * float64(time.Second))
	p.next = now.Add(wait + time.Millisecond) // never a whisker too early
	return false
}

// may tells whether a step is taken now. What failed waits for its time; to make
// something, any event is a reason to try before that, because what it rests on
// may be there now.
func (p *past) may(op datapath.Op, now time.Time, event bool) bool {
	if p.err == nil || op != p.op {
		return p.take(now)
	}
	if !now.Before(p.next) {
		return true
	}
	return event && op.New != nil && p.take(now)
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
	return p.err == nil && p.tokens >= burst
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
