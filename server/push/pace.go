package push

import "time"

// markerWait is how long a revision without objects waits for one that has some:
// of the writes that make a node join only the last is news to the others, and
// each message wakes them all.
const markerWait = 100 * time.Millisecond

// A round wakes all streams. It begins at once after quiet, and else not before
// the last one has had the time that it needs: of changes that come faster,
// several go in one. So a thousand nodes that join at once cost rounds in
// proportion to the time that they take, and leave half of the machine to those
// who come. A round that had many changes to tell is one of a crowd: nobody waits
// for a single one of them, and the pause after it is longer.
const (
	roundStream = 100 * time.Microsecond // that a round needs for a stream, twice over
	roundFree   = 100                    // streams that need no pause
	roundFew    = 16                     // changes, after which the pause is not longer
	roundLonger = 4                      // times, at most
)

// pace is when rounds begin.
type pace struct {
	timer *time.Timer // fires round
	due   time.Time   // when it does; zero if it does not
	last  time.Time   // of the last round
	place uint64      // in history, up to which it told
	told  uint64      // changes that it told
}

// pause is how long the next round stays away, with so many streams.
func (p *pace) pause(streams int) time.Duration {
	longer := min(max(1, p.told/roundFew), roundLonger)
	return time.Duration(max(0, streams-roundFree)) * roundStream * time.Duration(longer)
}

// schedule has a round begin after a wait, or later if the last one was just now.
// h.mu is held.
func (h *Hub) schedule(wait time.Duration) {
	now := time.Now()
	at := now.Add(wait)
	if next := h.pace.last.Add(h.pace.pause(len(h.streams))); at.Before(next) {
		at = next
	}
	switch {
	case !at.After(now):
		h.wake(now)
	case h.pace.due.IsZero() || at.Before(h.pace.due):
		h.pace.due = at
		h.pace.timer.Reset(at.Sub(now))
	}
}

// round is a round whose time has come.
func (h *Hub) round() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.pace.due.IsZero() && !h.closed {
		h.wake(time.Now())
	}
}

// wake wakes all streams. h.mu is held.
func (h *Hub) wake(now time.Time) {
	h.pace.timer.Stop()
	h.pace.due, h.pace.last = time.Time{}, now
	h.pace.told = h.history.end() - h.pace.place
	h.pace.place = h.history.end()
	for _, s := range h.streams {
		s.kick()
	}
}
