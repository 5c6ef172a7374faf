package mesh

import (
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Sizes of packets in bytes.
const (
	mtuSafe  = intent.MinMTU6 // fits nearly everywhere
	mtuFloor = 576            // what any IPv4 host takes (RFC 791, section 3.1)
	mtuGrain = 4              // how exactly a limit is found
)

// How often.
const (
	mtuUsed  = 3 * time.Second  // between padded probes of a line with traffic
	mtuIdle  = 30 * time.Second // without
	mtuRaise = 10 * time.Minute // between tries to go above a limit found
	mtuTries = 3                // of the size in use, before it is too large
	mtuHalf  = 2                // of a size between
)

// search finds by padded probes how large a packet may be on a line. No ICMP is
// needed: a path that loses large packets silently is found as well.
type search struct {
	ceiling int // what the devices of both ends allow; 0: not known
	good    int // the largest that was answered; 0: none
	bad     int // the smallest that was not; 0: none

	id    uint64 // of the probe under way; 0: none
	first uint64 // of this search; 0: none was sent
	size  int
	sent  time.Time
	lost  int // in a row, of this size
	most  int // that may be lost
	next  time.Time
	raise time.Time
	wait  time.Duration // between tries to go higher
}

// limit takes what the devices allow.
func (s *search) limit(ceiling int, now time.Time) {
	if ceiling != s.ceiling {
		*s = search{ceiling: ceiling, next: now}
	}
}

// moved begins anew on another trail. What the old one carried is taken for the limit
// until the new one is known.
func (s *search) moved(now time.Time) {
	s.inherit(s.mtu(), now)
}

// inherit begins with a size that something has carried so far.
func (s *search) inherit(was int, now time.Time) {
	*s = search{ceiling: s.ceiling, next: now, raise: now}
	if was < s.ceiling {
		s.good, s.bad = was, s.ceiling
	}
}

// mtu is what is known to fit, or not known not to.
func (s *search) mtu() int {
	switch {
	case s.bad == 0:
		return s.ceiling
	case s.good > 0:
		return s.good
	case s.bad > mtuSafe:
		return min(mtuSafe, s.ceiling)
	}
	return min(mtuFloor, s.ceiling)
}

// settled tells whether nothing is left to find out.
func (s *search) settled() bool { return s.bad == 0 || s.good > 0 && s.bad-s.good <= mtuGrain }

// probed tells whether the limit is an answer's.
func (s *search) probed() bool { return s.good > 0 && s.settled() }

// pick is the size to ask for next, and how often it may be lost.
func (s *search) pick(now time.Time) (size, tries int) {
	switch {
	case s.bad == 0:
		return s.ceiling, mtuTries
	case s.good == 0:
		return s.mtu(), mtuTries
	case !now.Before(s.raise):
		return s.ceiling, 1
	case !s.settled():
		return (s.good + s.bad) / 2, mtuHalf
	}
	return s.good, mtuTries
}

// expire counts a padded probe that was not answered, and says when to look again.
func (s *search) expire(h *health, now time.Time) time.Time {
	if s.id == 0 {
		return time.Time{}
	}
	if end := s.sent.Add(h.patience()); now.Before(end) { // no less than a small one's: what is slow is not lost
		return end
	}
	s.lose(h, now, false)
	return time.Time{}
}

// lose counts a loss. While small probes are lost as well it says nothing of sizes.
func (s *search) lose(h *health, now time.Time, surely bool) {
	s.id, s.next = 0, now
	if h.misses > 0 || !h.up {
		return
	}
	if s.lost++; s.lost < s.most && !surely {
		return
	}
	s.lost = 0
	if s.bad > 0 && s.size == s.ceiling {
		s.later(now) // a try to go higher
		return
	}
	if s.size <= s.good {
		s.good = 0
	}
	if s.size > mtuFloor || s.bad == 0 {
		s.bad = s.size
	} else {
		s.good = mtuFloor // nothing smaller is tried: the line is as good as it gets
	}
	s.later(now)
}

// later puts off the next try to go higher.
func (s *search) later(now time.Time) {
	s.wait = clamp(2*s.wait, steady, mtuRaise)
	s.raise = now.Add(s.wait)
}

// got counts an answer to a packet of some bytes. One that comes after it was taken for
// lost says as much of sizes.
func (s *search) got(id uint64, size int, now time.Time) bool {
	if s.id != id || id == 0 {
		s.late(id, size, now)
		return false
	}
	s.id, s.lost = 0, 0
	s.pass(s.size)
	s.next = now
	return true
}

// late takes it that a packet came through that nobody waited for any more: one of this
// search, for one of the trail before says nothing.
func (s *search) late(id uint64, size int, now time.Time) {
	if s.first > 0 && id >= s.first && s.bad > 0 && size >= s.bad && size <= s.ceiling {
		s.pass(size)
		s.lost, s.next = 0, now
	}
}

// pass takes it that a size fits.
func (s *search) pass(size int) {
	s.good = max(s.good, size)
	if s.good >= s.bad {
		s.bad = 0
	}
	if s.good >= s.ceiling {
		s.bad, s.wait = 0, 0
	}
}

// unsent is a padded probe that our own kernel refused: it knows a limit.
func (s *search) unsent(id uint64, h *health, now time.Time) bool {
	if s.id != id || id == 0 {
		return false
	}
	s.lose(h, now, true)
	return true
}

// measure sends a padded probe if it is time.
func (p *pair) measure(l *line, w *wake) {
	s := &l.mtu
	if s.ceiling == 0 || s.id != 0 || !l.up || l.misses > 0 || l != p.at && p.rungOf(l) > p.rungOf(p.at) {
		return
	}
	size, most := s.pick(w.now)
	if size != s.size {
		s.lost = 0
	}
	next := s.next
	if s.verified(size) {
		next = s.sent.Add(p.measures(w.now))
		if s.bad > 0 && s.raise.Before(next) {
			next = s.raise
		}
	}
	if !w.due(next) {
		return
	}
	s.begin(p.m.id(), size, most, w.now)
	w.at(w.now.Add(l.patience()))
	p.m.act(ProbeInner{ID: s.id, Peer: p.name, Over: l.over, Size: size})
}

// begin notes a probe that is sent.
func (s *search) begin(id uint64, size, most int, now time.Time) {
	if s.first == 0 {
		s.first = id
	}
	s.id, s.size, s.most, s.sent = id, size, most, now
}

// verified tells whether a size is known to pass, and asked for again only in case the
// path changes.
func (s *search) verified(size int) bool {
	return s.lost == 0 && s.settled() && size == s.mtu() && s.good >= size
}

func (p *pair) measures(now time.Time) time.Duration {
	if now.Sub(p.busy) < inUse || !p.counts {
		return mtuUsed
	}
	return mtuIdle
}

// ceiling is what the devices of both ends allow on a line, in bytes; never more than
// this node's pods send.
func (p *pair) ceiling(l *line) int {
	c := p.m.in.Intent.Cluster
	most := c.PodMTU(p.m.me)
	path := 0
	for _, u := range p.m.me.Underlay {
		is4 := u.Addr.Addr().Is4()
		v, ok := p.peer.UnderlayOf(is4)
		if !ok {
			continue
		}
		path = max(path, min(u.MTU, v.MTU)-l.overhead(is4))
	}
	switch {
	case path <= 0:
		return most
	case most <= 0:
		return path
	}
	return min(most, path)
}

func (l *line) overhead(is4 bool) int {
	switch l.over.Rung {
	case WireGuard:
		return intent.WireGuardOverhead(is4)
	case VXLAN:
		return intent.VXLANOverhead(is4)
	}
	return 0
}
