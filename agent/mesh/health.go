package mesh

import "time"

// flight is a probe on its way.
type flight struct {
	id uint64
	at time.Time
}

// flights are those of one way, the oldest first. There are few: a way is asked again
// only after a good part of its round trip.
type flights struct {
	list [4]flight
	n    int
}

// add notes one, and tells how many fell out to make room.
func (f *flights) add(id uint64, at time.Time) (lost int) {
	if f.n == len(f.list) {
		f.drop(1)
		lost = 1
	}
	f.list[f.n] = flight{id, at}
	f.n++
	return lost
}

// take ends one, with those that are older: they were overtaken. It tells how many of
// them were sent after a time.
func (f *flights) take(id uint64, since time.Time) (older int, ok bool) {
	for i := range f.n {
		if f.list[i].id == id {
			f.drop(i + 1)
			return older, true
		}
		if !f.list[i].at.Before(since) {
			older++
		}
	}
	return 0, false
}

func (f *flights) drop(n int) {
	copy(f.list[:], f.list[n:f.n])
	f.n -= n
}

// health is what probes say of a line or a trail.
type health struct {
	flights
	probes, answers int
	misses          int // in a row
	up              bool
	rtt             time.Duration // smoothed; 0: not known
	first           time.Time     // when it first answered: what was sent before may have waited for a session
	rough           bool          // rtt is of a probe that was sent before
	loss            float64       // smoothed, 0 to 1
	asked, answered time.Time     // last
	vain            time.Time     // since when it is asked and does not answer; zero: it did the last time, or was not asked
	stable          time.Time     // since when nothing was missed; zero: something is
	deaths          int           // while it was in use
	died            time.Time
	barred          time.Time // until then it is not taken again
	why             string    // our own kernel's refusal to send
}

// patience is how long an answer may take.
func (h *health) patience() time.Duration {
	if h.rtt == 0 {
		return time.Second
	}
	return clamp(2*h.rtt+50*time.Millisecond, 250*time.Millisecond, 2*time.Second)
}

func (h *health) sent(id uint64, now time.Time) {
	h.probes++
	h.why, h.asked = "", now
	if h.vain.IsZero() {
		h.vain = now
	}
	h.missed(h.add(id, now))
}

// got counts an answer. One that comes late counts as well: the round trip has grown.
func (h *health) got(id uint64, rtt time.Duration, now time.Time) {
	older, intime := h.take(id, h.first)
	if h.answers > 0 {
		for range older {
			h.loss += (1 - h.loss) / 32
		}
	} else {
		h.first = now
	}
	h.answers++
	h.misses, h.up, h.answered, h.vain = 0, true, now, time.Time{}
	h.loss -= h.loss / 32
	if h.stable.IsZero() {
		h.stable = now
	}
	h.trip(max(rtt, time.Microsecond), intime, now.Add(-rtt).Before(h.first))
}

// trip takes a round trip. That of a probe which was sent before the first answer may
// have waited for a session of WireGuard: it stands only until there is another.
func (h *health) trip(rtt time.Duration, intime, early bool) {
	switch {
	case early && h.rtt > 0:
		if h.rough {
			h.rtt = min(h.rtt, rtt)
		}
	case h.rtt == 0 || h.rough || !intime || rtt < h.rtt/2:
		h.rtt, h.rough = rtt, early
	default:
		h.rtt += (rtt - h.rtt) / 8
	}
}

// missed counts probes that nobody answered.
func (h *health) missed(n int) {
	for range n {
		h.misses++
		h.stable = time.Time{}
		if h.answers > 0 { // before, nothing says that there is a way to lose them on
			h.loss += (1 - h.loss) / 32
		}
	}
	if h.misses >= misses {
		h.up = false
	}
}

// expire counts what was not answered in time, and says when to look again.
func (h *health) expire(now time.Time) (next time.Time) {
	p := h.patience()
	n, early := 0, 0 // what was sent before there was a session says nothing
	for n < h.n && !h.list[n].at.Add(p).After(now) {
		if h.list[n].at.Before(h.first) {
			early++
		}
		n++
	}
	if n > 0 {
		h.drop(n)
		h.missed(n - early)
	}
	if h.n == 0 {
		return time.Time{}
	}
	return h.list[0].at.Add(p)
}

// unsent takes back a probe that our own kernel refused.
func (h *health) unsent(id uint64, why string) bool {
	for i := range h.n {
		if h.list[i].id == id {
			copy(h.list[i:], h.list[i+1:h.n])
			h.n--
			h.missed(1)
			h.why = why
			return true
		}
	}
	return false
}

// bar counts a failure in use: the next time the way must prove itself for longer.
func (h *health) bar(now time.Time) {
	if now.Sub(h.died) > forgiven {
		h.deaths = 0
	}
	h.deaths++
	h.died, h.barred = now, now.Add(h.need())
}

// die is a death in use.
func (h *health) die(now time.Time) {
	h.bar(now)
	h.up, h.stable = false, time.Time{}
}

// need is how long a way must have answered before a working one is left for it.
func (h *health) need() time.Duration {
	if h.deaths == 0 {
		return steady
	}
	return min(steady<<min(h.deaths-1, 10), steadyMax)
}

// fit tells whether a working way may be left for this one.
func (h *health) fit(now time.Time) bool {
	return h.up && h.misses == 0 && !h.stable.IsZero() && now.Sub(h.stable) >= h.need() && !now.Before(h.barred)
}

// since tells whether it has answered after t.
func (h *health) since(t time.Time) bool { return h.up && h.misses == 0 && h.answered.After(t) }
