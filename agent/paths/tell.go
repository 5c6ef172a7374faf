package paths

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// How long a report must have stood still before it is told, and how long it may be
// held back by further changes.
const (
	stand    = 200 * time.Millisecond
	holdBack = 800 * time.Millisecond
)

// teller tells of reports that have settled.
type teller struct {
	told   Report
	now    Report
	since  time.Time // of the last change that is not told; zero: all is
	oldest time.Time // of the first
}

// saw takes the report as it is.
func (t *teller) saw(r Report, now time.Time) {
	if r.equal(t.now) {
		return
	}
	t.now = r
	if t.now.equal(t.told) {
		t.since, t.oldest = time.Time{}, time.Time{}
		return
	}
	if t.since = now; t.oldest.IsZero() {
		t.oldest = now
	}
}

// due is when to tell; zero: there is nothing.
func (t *teller) due() time.Time {
	if t.since.IsZero() {
		return time.Time{}
	}
	if len(t.told.Slots) == 0 { // peers wait for it
		return t.oldest
	}
	return earliest(t.since.Add(stand), t.oldest.Add(holdBack))
}

// tell returns the report if it is due.
func (t *teller) tell(now time.Time) *Report {
	if at := t.due(); at.IsZero() || now.Before(at) {
		return nil
	}
	t.told, t.since, t.oldest = t.now, time.Time{}, time.Time{}
	r := t.told
	return &r
}

func (r Report) equal(o Report) bool {
	return slices.Equal(r.Slots, o.Slots) && slices.Equal(r.Candidates, o.Candidates) &&
		r.NAT4 == o.NAT4 && r.NAT6 == o.NAT6 && slices.Equal(r.Relays, o.Relays)
}

// maxSeconded bounds what is remembered of what single peers have seen.
const maxSeconded = 1024

// seconders remember which peer has first seen us as what.
type seconders map[netip.AddrPort]seconder

type seconder struct {
	slot uint8
	peer string
	at   time.Time
}

// second tells whether another peer has seen the same address of late.
func (s seconders) second(c intent.Candidate, peer string, now time.Time) bool {
	first, ok := s[c.Addr]
	if ok && first.peer != peer && first.slot == c.Slot && now.Sub(first.at) < peerStands {
		return true
	}
	if !ok && len(s) >= maxSeconded {
		for a, f := range s {
			if now.Sub(f.at) >= peerStands {
				delete(s, a)
			}
		}
		if len(s) >= maxSeconded {
			return false
		}
	}
	s[c.Addr] = seconder{c.Slot, peer, now}
	return false
}
