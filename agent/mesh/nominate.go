package mesh

import "time"

// nomination is a trail that the peer is being told to use.
type nomination struct {
	trail *trail
	done  bool // we use it already
	tries int
	next  time.Time
}

// nominations that nobody answers, before the trail is given up.
const nominations = 5

// nominate asks the peer to use a trail, and uses it once the peer has answered.
func (t *tunnel) nominate(r *trail, now time.Time) { t.nom = nomination{trail: r, next: now} }

// announce tells the peer of the trail that is used already.
func (t *tunnel) announce(now time.Time) { t.nom = nomination{trail: t.cur, done: true, next: now} }

func (t *tunnel) sendNomination(w *wake) {
	n := &t.nom
	if n.trail == nil || !w.due(n.next) {
		return
	}
	if n.tries == nominations {
		if !n.done {
			n.trail.die(w.now)
		}
		*n = nomination{}
		return
	}
	n.tries++
	n.next = w.now.Add(clamp(2*n.trail.rtt, 100*time.Millisecond, time.Second))
	t.probe(n.trail, Probe{}, w.now)
	w.at(n.next)
}

// nominated ends a nomination: the peer has answered it, and uses the trail.
func (t *tunnel) nominated(r *trail, now time.Time) {
	if t.nom.trail != r || t.nom.tries == 0 {
		return
	}
	done := t.nom.done
	t.nom = nomination{}
	if !done {
		t.use(r, now)
	}
}

// follows tells whether to do as the peer's nomination says. Of two that cross, the
// lower-named node's holds, unless nothing has come out of the tunnel since.
func (t *tunnel) follows(now time.Time) bool {
	if !t.pair.nominates() {
		return true
	}
	return t.nom.trail == nil && (now.Sub(t.since) > time.Second || !t.line().answered.After(t.since))
}

// hold is the time in which an endpoint is set again whenever the kernel leaves it:
// packets that the peer sent by the old trail are still under way, and WireGuard
// follows the last that came. It ends two round trips after the kernel was last seen
// elsewhere.
type hold struct {
	since  time.Time // zero: none
	quiet  time.Time // since when the kernel has what it should; zero: it has not
	window time.Duration
	again  uint8
	turned time.Time
	lost   bool // the kernel was seen elsewhere
}

func (h *hold) active() bool { return !h.since.IsZero() }

// assert begins a hold for the trail in use.
func (t *tunnel) assert(now time.Time) { t.assertFor(now, t.cur) }

// assertFor begins a hold for as long as packets of the old trail may come.
func (t *tunnel) assertFor(now time.Time, old *trail) {
	rtt := t.cur.rtt
	if old != nil {
		rtt = max(rtt, old.rtt)
	}
	t.hold = hold{since: now, window: clamp(2*rtt, holdMin, 3*time.Second), again: t.hold.again}
	if !t.looked.IsZero() && t.cur.sentTo(t.device.Endpoint) {
		t.hold.quiet = now
	}
}

func (h *hold) match(now time.Time) {
	if h.active() && h.quiet.IsZero() {
		h.quiet = now
	}
}

func (h *hold) mismatch(now time.Time) {
	if !h.quiet.IsZero() || now.Sub(h.turned) >= again {
		h.again++
		h.turned = now
	}
	h.quiet, h.lost = time.Time{}, true
}

// holding ends the hold when it is time.
func (t *tunnel) holding(w *wake) {
	h := &t.hold
	if !h.active() {
		return
	}
	end := h.since.Add(holdMax)
	if !h.quiet.IsZero() && h.quiet.Add(h.window).Before(end) {
		end = h.quiet.Add(h.window)
	}
	if w.due(end) {
		pulled := h.quiet.IsZero() && h.lost
		*h = hold{again: h.again}
		if pulled {
			// The two ends pull each other back: not again soon.
			t.cur.bar(w.now)
			t.follow(t.device.Endpoint, w.now)
		}
		return
	}
	t.pair.m.look(w)
}
