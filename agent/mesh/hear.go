package mesh

import (
	"time"
)

// hear takes a probe of the peer.
func (p *pair) hear(e Heard, now time.Time) {
	p.said(e.Sends, now)
	silent := now.Sub(p.heard) > 30*time.Second
	p.heard = now
	if int(e.Slot) >= len(p.tunnels) || !p.tunnels[e.Slot].there {
		return
	}
	t := &p.tunnels[e.Slot]
	t.opened(e.Opened, now)
	r := t.learn(e.From, e.Via, now)
	if r == nil {
		return
	}
	r.heard = now
	if !r.up && now.Sub(r.asked) >= burst {
		r.tries, r.next = max(r.tries, 2), now
	}
	if silent && p.at != nil && !p.at.up {
		p.at.next = now // the peer is back
	}
	if e.Call && now.Sub(t.round.last) >= calls {
		t.begin(true, now)
	}
	if e.Nominate && t.cur != r && t.follows(now) {
		if t.cur != nil && t.before(t.cur, r) {
			t.cur.bar(now) // the peer fled from it: what it missed may not have been missed here
		}
		t.nom = nomination{}
		t.use(r, now)
	}
}

// said takes by which devices the peer sends.
func (p *pair) said(o Over, now time.Time) {
	p.says, p.sends = true, o
	if o.Rung == WireGuard && int(o.Slot) < len(p.tunnels) {
		t := &p.tunnels[o.Slot]
		t.kept, t.bare = now, t.bare || !t.bound // the peer sends by it as it is
	}
}

// answered takes an answer to a probe of a trail.
func (p *pair) answered(e Answered, now time.Time) {
	p.said(e.Sends, now)
	p.heard = now
	if int(e.Slot) >= len(p.tunnels) {
		return
	}
	t := &p.tunnels[e.Slot]
	r := t.trailOf(e)
	if r == nil {
		return
	}
	r.got(e.ID, e.RTT, now)
	r.tries, r.rest, r.fails = 0, time.Time{}, 0
	if e.Observed.IsValid() {
		r.observed = e.Observed
	}
	t.nominated(r, now)
}

// trailOf is the trail by which a probe went that was answered. An answer from another
// address than was asked is one of a peer with several, or behind a router that turns
// packets round: what was asked works, for WireGuard follows where answers come from.
func (t *tunnel) trailOf(e Answered) *trail {
	for _, r := range t.trails {
		for i := range r.n {
			if r.list[i].id == e.ID {
				return r
			}
		}
	}
	for _, r := range t.trails {
		if r.is(e.From, e.Via) {
			return r
		}
	}
	return nil
}

// inner takes an answer through the data path.
func (p *pair) inner(e Inner, now time.Time) {
	l := p.line(e.Over)
	if l == nil {
		return
	}
	if l.mtu.got(e.ID, e.Size, now) {
		return
	}
	if !l.up {
		l.tries, l.wait = 0, 0
	}
	l.got(e.ID, e.RTT, now)
	if l == p.at && p.required && !p.sealed {
		p.permit()
	}
}

// unsent takes a refusal of our own kernel.
func (p *pair) unsent(e Unsent, now time.Time) {
	for i := range p.lines {
		l := &p.lines[i]
		if l.mtu.unsent(e.ID, &l.health, now) || l.unsent(e.ID, e.Why) {
			return
		}
	}
	for s := range p.tunnels {
		for _, r := range p.tunnels[s].trails {
			if r.unsent(e.ID, e.Why) {
				return
			}
		}
	}
}

// took takes what the kernel says of the peer, and tells whether there is anything to
// do about it.
func (p *pair) took(d Device, now time.Time) bool {
	t := &p.tunnels[d.Slot]
	cur, held, busy, psk := t.cur, t.hold, now.Sub(p.busy) < inUse, t.device.PSK
	t.took(d, now)
	return cur != t.cur || psk != d.PSK || held != t.hold || !busy && now.Sub(p.busy) < inUse
}

// trafficTold notes that something else than WireGuard's counters tells of traffic.
func (p *pair) trafficTold(now time.Time) bool {
	busy := now.Sub(p.busy) < inUse
	p.counts, p.busy = true, now
	return !busy
}

// choose writes down how the pair sends.
func (p *pair) choose() {
	c := Choice{}
	if p.at != nil {
		c.Rung, c.Slot, c.Spare, c.MTU = p.rungOf(p.at), p.at.over.Slot, p.at.over.Spare, p.at.mtu.mtu()
	}
	for s := range p.tunnels {
		c.Peers[s] = p.tunnels[s].peer()
	}
	if c != p.choice || !p.known() {
		p.choice = c
		p.m.stale[p.name] = struct{}{}
	}
}

// known tells whether the pair stands among the choices.
func (p *pair) known() bool {
	_, ok := p.m.choices[p.name]
	return ok
}

// peer is the tunnel as an entry of the WireGuard device.
func (t *tunnel) peer() Peer {
	if !t.there || !t.psk.there() {
		return Peer{}
	}
	out := Peer{There: true, Fabric: t.agreeing(), PSK: t.psk.Key, Again: t.hold.again, Via: t.carrier()}
	if t.cur == nil {
		return out
	}
	if t.hold.active() {
		out.Endpoint, out.Relayed = t.cur.addr, t.cur.relayed()
	}
	if t.sending() && t.natted(t.cur) {
		out.Keepalive = keepalive
	}
	return out
}

// carrier is the relay that the tunnel uses, or would use.
func (t *tunnel) carrier() Via {
	if t.cur != nil && t.cur.relayed() {
		return t.cur.via
	}
	r := t.best(func(r *trail) bool { return r.relayed() && r.up })
	if r == nil {
		r = t.best(func(r *trail) bool { return r.via.Server != "" })
	}
	if r == nil {
		return Via{}
	}
	return r.via
}
