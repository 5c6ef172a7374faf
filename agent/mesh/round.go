package mesh

import "time"

// round is a series of tries on all trails that do not answer, repeated less and less
// often.
type round struct {
	next time.Time
	wait time.Duration
	last time.Time
	n    int // how many there were
}

// retry starts a round at once, with the shortest waits after it.
func (t *tunnel) retry(now time.Time) { t.round.next, t.round.wait = now, 0 }

// sooner has the next round begin at a time, unless it does before.
func (r *round) sooner(at time.Time) {
	if at.Before(r.next) {
		r.next = at
	}
}

// begin starts a round, because it is time or because the peer calls.
func (t *tunnel) begin(called bool, now time.Time) {
	r := &t.round
	r.wait = clamp(2*r.wait, roundMin, roundMax)
	r.next, r.last = now.Add(r.wait), now
	direct := t.best(func(r *trail) bool { return r.up && !r.relayed() && !t.pair.meets() })
	var shut []*trail
	for _, tr := range t.trails {
		switch {
		case tr.up && tr == t.cur, tr.via.Node != "" && direct != nil, t.spoils(tr, called, now):
		case tr.up:
			tr.tries, tr.next = 1, now
		case t.shut(tr):
			tr.tries = 0
			shut = append(shut, tr)
		default:
			tr.tries, tr.next, tr.fresh = tries, now, false
		}
	}
	t.punch(shut, called, now)
	r.n++
}

// send probes what is due.
func (t *tunnel) send(w *wake) {
	if !t.there {
		return
	}
	if w.due(t.round.next) {
		t.begin(false, w.now)
		w.at(t.round.next)
	}
	t.sendNomination(w)
	second := t.best(func(r *trail) bool { return r != t.cur && r.up })
	chased := t.chased(w.now)
	for i, r := range t.trails {
		every := t.every(r, second, w.now)
		if chased&(1<<i) != 0 {
			every = chase
		}
		switch {
		case r.tries > 0:
			t.tryTrail(r, w)
		case r == t.cur && t.telling:
			t.telling = false
			t.probe(r, Probe{}, w.now)
		case every > 0 && w.due(later(r.next, r.asked.Add(every))):
			t.probe(r, Probe{}, w.now)
			w.at(w.now.Add(every))
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (t *tunnel) tryTrail(r *trail, w *wake) {
	if t.gated(r, w.now) || !w.due(r.next) {
		return
	}
	if !t.pair.m.budget.take(w.now) {
		r.next = w.now.Add(burst)
		w.at(r.next)
		return
	}
	r.tries--
	t.probe(r, Probe{}, w.now)
	t.tired(r, w.now)
	r.next = w.now.Add(burst)
	if r.tries > 0 {
		w.at(r.next)
	}
}

// every is how often a trail is probed; 0: only in rounds.
func (t *tunnel) every(r, second *trail, now time.Time) time.Duration {
	warm := clamp(time.Duration(len(t.pair.m.pairs))*25*time.Millisecond, warmMin, warmMax)
	switch {
	case r == t.cur && !r.up && r.misses < misses, r.up && r.misses > 0:
		return quick
	case r.up && r != t.cur && t.pair.nominates() && t.before(r, t.cur):
		return climb
	case r == t.cur, r == second:
		return warm
	}
	return 0
}

// chased are the trails that are probed while the line in use is in doubt, as bits:
// at first those that worked a moment ago, then all, then, as the tunnel has nothing
// better to do, rounds again.
func (t *tunnel) chased(now time.Time) (bits uint32) {
	d, ok := t.pair.doubted(now)
	if !ok || d > 3*time.Second {
		return 0
	}
	left := maxChased
	for i, r := range t.trails {
		if r.up && left > 0 {
			bits |= 1 << i
			left--
		}
	}
	if t.pair.at.misses < 2 {
		return bits
	}
	for i, r := range t.trails {
		if bits&(1<<i) == 0 && left > 0 && !t.gated(r, now) {
			bits |= 1 << i
			left--
		}
	}
	return bits
}

// probe sends one by a trail.
func (t *tunnel) probe(r *trail, a Probe, now time.Time) {
	a.ID, a.Peer, a.Slot = t.pair.m.id(), t.pair.name, t.slot
	a.To, a.Via, a.Sends = r.addr, r.via, t.pair.sending()
	if r == t.nom.trail {
		a.Nominate = true
	}
	r.sent(a.ID, now)
	t.pair.m.act(a)
}
