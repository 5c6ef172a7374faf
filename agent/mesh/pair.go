package mesh

import (
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// pair is this node and one peer.
type pair struct {
	m    *Machine
	name string
	peer intent.Peer
	timer
	set uint64 // the Set that named the peer last

	carried int // bytes: the MTU that was adopted with the line; 0: none, or used up

	lines   [lines]line
	tunnels [intent.Slots]tunnel

	at      *line     // the pair sends by it; nil: by none
	since   time.Time // on this line and trail
	entered time.Time // this line
	doubt   time.Time // since when what it sends by does not answer; zero: it does
	adopted bool      // it was so found at the start, and nothing has been changed
	sealed  bool      // must be encrypted, and has been
	busy    time.Time // the last traffic
	counts  bool      // something tells of traffic

	required bool // must be encrypted
	sends    Over // by what the peer sends, as it last said
	says     bool // it has said so
	heard    time.Time
	born     time.Time // since when the peer is known
	choice   Choice
}

func newPair(m *Machine, name string) *pair {
	p := &pair{m: m, name: name}
	p.lay()
	for s := range p.tunnels {
		t := &p.tunnels[s]
		t.pair, t.slot = p, uint8(s)
	}
	return p
}

// know takes what is known of the peer and of the node.
func (p *pair) know(peer intent.Peer, now time.Time) {
	p.peer = peer
	for s := range p.tunnels {
		p.tunnels[s].set(now)
	}
	p.permit()
	for i := range p.lines {
		l := &p.lines[i]
		l.mtu.limit(p.ceiling(l), now)
		if l == p.at && p.carried > 0 && l.mtu.ceiling > 0 {
			l.mtu.inherit(p.carried, now)
			p.carried = 0
		}
		if l.now && !l.up {
			l.retry(now)
		}
	}
}

// stir tries again what has failed, because something changed here.
func (p *pair) stir(now time.Time) {
	for s := range p.tunnels {
		p.tunnels[s].retry(now)
		for _, r := range p.tunnels[s].trails {
			r.fresh = true
		}
	}
	for i := range p.lines {
		p.lines[i].retry(now)
	}
	if p.at != nil {
		p.at.next = now
	}
}

// retry starts a round at once, with the shortest waits after it.
func (l *line) retry(now time.Time) { l.round, l.wait = now, 0 }

// nominates tells whether it is this end that chooses the trail while all is well.
func (p *pair) nominates() bool { return p.m.self < p.name }

// leaving tells whether the pair has to go elsewhere: the rules of the carrier do not
// name the line, or the slot's key is to go.
func (p *pair) leaving(l *line) bool {
	if !l.now {
		return true
	}
	t := p.tunnel(l)
	return t != nil && t.leaving > 0
}

// step does what is due, and says when something is next.
func (p *pair) step(now time.Time) time.Time {
	w := wake{now: now}
	for i := range p.lines {
		w.at(p.lines[i].expire(now))
		w.at(p.lines[i].mtu.expire(&p.lines[i].health, now))
	}
	for s := range p.tunnels {
		p.tunnels[s].expire(&w)
		p.tunnels[s].await(&w)
	}
	p.suspect(now)
	for s := range p.tunnels {
		p.tunnels[s].decide(&w)
	}
	p.decide(&w)
	for s := range p.tunnels {
		p.tunnels[s].send(&w)
	}
	for i := range p.lines {
		p.ask(&p.lines[i], &w)
	}
	p.choose()
	return w.next
}

// suspect notes since when the line in use does not answer.
func (p *pair) suspect(now time.Time) {
	switch {
	case p.at == nil || p.at.misses == 0 && p.at.up:
		p.doubt = time.Time{}
	case p.at.misses > 0 && p.doubt.IsZero():
		p.doubt = now
	}
}

// doubted is for how long the line in use has not answered.
func (p *pair) doubted(now time.Time) (time.Duration, bool) {
	if p.doubt.IsZero() {
		return 0, false
	}
	return now.Sub(p.doubt), true
}

// wake collects when something is due next.
type wake struct {
	now  time.Time
	next time.Time // zero: never
}

// at notes a time. What is past is due in a moment, never at once: a Step ends.
func (w *wake) at(t time.Time) {
	if t.IsZero() {
		return
	}
	if floor := w.now.Add(time.Millisecond); t.Before(floor) {
		t = floor
	}
	if w.next.IsZero() || t.Before(w.next) {
		w.next = t
	}
}

// due tells whether t has come, and notes it if not. A zero t has.
func (w *wake) due(t time.Time) bool {
	if t.After(w.now) {
		w.at(t)
		return false
	}
	return true
}

// traffic notes whether the kernel's counters say that the pair is in use.
func (p *pair) traffic(used, sending bool, now time.Time) {
	p.counts = p.counts && p.at != nil && p.at.over.Rung == WireGuard || sending
	if used {
		p.busy = now
	}
}

// sending is by what the pair sends.
func (p *pair) sending() Over {
	if p.at == nil {
		return Over{}
	}
	return p.at.over
}
