package tunnel

import (
	"cmp"
	"fmt"
	"slices"
)

// hold counts n bytes that come for a stream as held, and says whether they may be
// kept. A session that would hold more than its budget ends those of its streams of
// which most was not read. When the process's budget runs short, the session that
// holds most does, whichever it is: one that holds little loses nothing. With mu
// held.
func (c *Conn) hold(s *Stream, n int) bool {
	process := c.config.Budget
	for !c.budget.hold(int64(n)) {
		short := c.budget
		if c.budget.Held()+int64(n) <= c.budget.limit {
			short = process // and nobody could be relieved so fast
		}
		if c.shed(int64(n)+c.budget.limit/8, short) == 0 {
			c.giveWay(s, short)
		}
		if s.err != nil {
			return false
		}
	}
	if process.short() && process.relieving.CompareAndSwap(false, true) {
		c.writers.Add(1)
		go func() { // the locks of two sessions are never held at once
			defer c.writers.Done()
			process.relieve()
		}()
	}
	return true
}

// shed ends the streams of which most waits to be read until n bytes less are held,
// and returns how many are; with mu held.
func (c *Conn) shed(n int64, short *Budget) (freed int64) {
	var holders []*Stream
	for _, s := range c.streams {
		if s.in.size > 0 {
			holders = append(holders, s)
		}
	}
	slices.SortFunc(holders, func(a, b *Stream) int { return cmp.Compare(b.in.size, a.in.size) })
	for _, s := range holders {
		if freed >= n {
			break
		}
		freed += int64(s.in.size)
		c.giveWay(s, short)
	}
	return freed
}

// giveWay ends a stream because a budget is used up; with mu held.
func (c *Conn) giveWay(s *Stream, short *Budget) {
	whose := "session"
	if short == c.config.Budget {
		whose = "process"
	}
	why := fmt.Sprintf("the budget of the %s, %d KiB, is used up; %d KiB of this stream were not read", whose, short.limit>>10, s.in.size>>10)
	c.stats.Shed++
	s.end(Refusal{Code: Overloaded, Reason: why}, &ResetError{Code: Overloaded, Reason: why})
}

// short says whether a process should hold less.
func (b *Budget) short() bool { return b.Held() > b.limit/4*3 }

// relieve has the sessions that hold most hold less, until the process is not short.
func (b *Budget) relieve() {
	defer b.relieving.Store(false)
	for b.short() {
		c := b.largest()
		if c == nil {
			return
		}
		c.mu.Lock()
		freed := c.shed(b.Held()-b.limit/8*5, b)
		c.kick()
		c.mu.Unlock()
		if freed == 0 {
			return
		}
	}
}

// largest returns the session that holds most.
func (b *Budget) largest() (most *Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.sessions {
		if most == nil || c.budget.Held() > most.budget.Held() {
			most = c
		}
	}
	return most
}

// join and leave keep the list of who may be asked to hold less.
func (b *Budget) join(c *Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions == nil {
		b.sessions = map[*Conn]struct{}{}
	}
	b.sessions[c] = struct{}{}
}

func (b *Budget) leave(c *Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, c)
}
