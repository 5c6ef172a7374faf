package mesh

import "time"

// decide chooses the line.
func (p *pair) decide(w *wake) {
	now := w.now
	if p.at == nil || !p.at.may() {
		p.enter(p.first(), now)
	}
	if p.at == nil {
		return
	}
	switch {
	case p.leaving(p.at):
		p.leave(w)
	case !p.at.up && p.at.misses >= misses:
		p.flee(now)
	case !p.at.up:
		// Not proved yet: whatever is, is better.
		if l := p.bestLine(func(l *line) bool { return l.up && l.misses == 0 && !p.leaving(l) }); l != nil {
			p.enter(l, now)
		}
	default:
		p.rise(w)
	}
}

// first is the line on which a pair begins: the one that most surely works.
func (p *pair) first() *line {
	for _, i := range [...]int{lineVXLAN, lineSpare} {
		if p.lines[i].now {
			return &p.lines[i]
		}
	}
	if l := p.firstSlot(); l != nil {
		return l
	}
	if p.lines[lineDirect].now {
		return &p.lines[lineDirect]
	}
	return nil
}

// firstSlot is the line of the slot that stays; if both go, of the lower.
func (p *pair) firstSlot() (out *line) {
	for s := range p.tunnels {
		l := &p.lines[lineWG+s]
		if l.now && (out == nil || p.tunnels[s].leaving < p.tunnel(out).leaving) {
			out = l
		}
	}
	return out
}

// bestLine is the best of those that the pair may enter and that pass.
func (p *pair) bestLine(pass func(*line) bool) (out *line) {
	for i := range p.lines {
		l := &p.lines[i]
		if !l.now || l == p.at || !pass(l) {
			continue
		}
		if out == nil || p.rungOf(l) < p.rungOf(out) {
			out = l
		}
	}
	return out
}

// patient is how long a pair whose slot goes waits for the new one to be as good as
// the old one was.
const patient = 10 * time.Second

// leave goes from a line that the pair has to leave to any proved one that stays. From
// one WireGuard slot to the other it waits a little for a trail that is as good.
func (p *pair) leave(w *wake) {
	l := p.bestLine(func(l *line) bool {
		if !l.up || l.misses > 0 {
			return false
		}
		if !p.leaving(l) {
			return true
		}
		t, u := p.tunnel(l), p.tunnel(p.at)
		return t != nil && u != nil && t.leaving < u.leaving
	})
	if l == nil {
		if p.at.misses >= misses {
			p.flee(w.now)
		}
		return
	}
	moved := p.tunnel(l) != nil && p.tunnel(p.at) != nil && p.at.up
	if moved && p.rungOf(l) > p.rungOf(p.at) && !l.stable.IsZero() && w.now.Sub(l.stable) < patient {
		w.at(l.stable.Add(patient))
		return
	}
	p.enter(l, w.now)
}

// rise goes to a better line that has answered for long enough.
func (p *pair) rise(w *wake) {
	l := p.bestLine(func(l *line) bool {
		if p.rungOf(l) >= p.rungOf(p.at) || p.leaving(l) || p.tunnel(l) != nil && p.tunnel(p.at) != nil {
			return false
		}
		if l.up && !l.stable.IsZero() {
			w.at(l.stable.Add(l.need()))
			w.at(l.barred)
		}
		return l.fit(w.now) && w.now.Sub(l.answered) < 3*climb
	})
	if l != nil {
		p.enter(l, w.now)
	}
}

// flee leaves a line that is dead for what has answered since it is: another line, or a
// trail of a tunnel. An answer through the data path comes by the way that the peer
// sends, which may be the dead one as well; a trail's comes by the trail, so that one
// whose probes pass counts for its whole line.
func (p *pair) flee(now time.Time) {
	l := p.bestLine(func(l *line) bool { return l.since(p.doubt) })
	best := p.rungOf(l)
	var into *tunnel
	var r *trail
	for s := range p.tunnels {
		t := &p.tunnels[s]
		if !t.line().now || t.leaving > 0 && p.tunnel(p.at) != t {
			continue
		}
		if f := t.shelter(p.doubt, now); f != nil && (best == None || t.rung(f) < best) {
			into, r, best = t, f, t.rung(f)
		}
	}
	switch {
	case into != nil:
		p.shift(into, r, now)
	case l != nil:
		p.at.die(now)
		p.enter(l, now)
	default:
		p.gamble(now)
	}
}

// shift goes to a trail of a tunnel.
func (p *pair) shift(t *tunnel, r *trail, now time.Time) {
	if p.tunnel(p.at) == t && t.cur != nil {
		t.cur.die(now)
	} else {
		p.at.die(now)
	}
	if t.cur != r {
		t.use(r, now)
		t.announce(now)
	}
	p.enter(t.line(), now)
}

// gamble goes to the other line in the clear when nothing has answered: the peer may
// have to send by it first, and does the same.
func (p *pair) gamble(now time.Time) {
	if now.Sub(p.since) < 3*time.Second {
		return
	}
	var out *line
	for i := range lineWG {
		l := &p.lines[i]
		if l.now && l != p.at && l.answers > 0 && (out == nil || l.answered.After(out.answered)) {
			out = l
		}
	}
	if out != nil && p.at.over.Rung != WireGuard {
		p.at.die(now)
		p.enter(out, now)
	}
}

// enter puts the pair on a line.
func (p *pair) enter(l *line, now time.Time) {
	if l == p.at {
		return
	}
	if t := p.tunnel(p.at); t != nil {
		t.kept = now
	}
	p.at, p.since, p.entered, p.doubt, p.adopted = l, now, now, time.Time{}, false
	if l == nil {
		return
	}
	l.next = now
	p.permit()
	for s := range p.tunnels {
		p.tunnels[s].tell()
	}
}
