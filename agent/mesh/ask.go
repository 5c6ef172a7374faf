package mesh

import "time"

// pace is how often the line in use is probed.
func (p *pair) pace(now time.Time) time.Duration {
	n := time.Duration(len(p.m.pairs))
	if d, ok := p.doubted(now); ok {
		return doubtPace(d, quick)
	}
	switch {
	case !p.at.up:
		return quick
	case now.Sub(p.busy) < inUse:
		return clamp(n*time.Millisecond, quick, time.Second)
	case !p.counts:
		return clamp(n*10*time.Millisecond, quick, unclear)
	}
	return clamp(n*20*time.Millisecond, time.Second, slow)
}

// doubtPace slows down what is probed while nothing answers.
func doubtPace(d, first time.Duration) time.Duration {
	switch {
	case d < 5*time.Second:
		return first
	case d < 30*time.Second:
		return time.Second
	}
	return 5 * time.Second
}

// every is how often a line is probed; 0: only in rounds.
func (p *pair) every(l *line, now time.Time) time.Duration {
	if l == p.at {
		return p.pace(now)
	}
	d, doubted := p.doubted(now)
	switch {
	case doubted && d < 5*time.Second:
		return chase
	case p.at != nil && !p.at.up && l.up, p.moving(l):
		return quick
	case l.up && l.misses > 0:
		return quick
	case l.up && p.at != nil && p.rungOf(l) < p.rungOf(p.at):
		return climb
	case l.up:
		return spare
	}
	return 0
}

// moving tells whether the pair waits to go to a line: what it sends by is to be left.
func (p *pair) moving(l *line) bool { return p.at != nil && p.leaving(p.at) && !p.leaving(l) && l.up }

// ask probes a line if it is time.
func (p *pair) ask(l *line, w *wake) {
	if l != p.at && !l.now {
		return
	}
	if t := p.tunnel(l); t != nil && !t.open() {
		return
	}
	p.measure(l, w)
	every := p.every(l, w.now)
	if every == 0 {
		p.tryLine(l, w)
		return
	}
	l.tries = 0
	next := l.asked.Add(every)
	if l.next.After(l.asked) && l.next.Before(next) {
		next = l.next
	}
	if w.due(next) {
		p.probeLine(l, w.now)
		w.at(w.now.Add(every))
	}
}

// tryLine probes a line that does not answer, a few times in each round.
func (p *pair) tryLine(l *line, w *wake) {
	if l.tries == 0 {
		if !w.due(l.round) {
			return
		}
		l.tries = tries
		l.wait = clamp(2*l.wait, roundMin, roundMax)
		l.round = w.now.Add(l.wait)
		l.next = w.now
	}
	if w.due(l.next) {
		l.tries--
		l.next = w.now.Add(quick)
		p.probeLine(l, w.now)
		w.at(l.next)
		w.at(l.round)
	}
}

func (p *pair) probeLine(l *line, now time.Time) {
	id := p.m.id()
	l.sent(id, now)
	p.m.act(ProbeInner{ID: id, Peer: p.name, Over: l.over})
}
