package mesh

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// tunnel is one WireGuard slot of a pair.
type tunnel struct {
	pair    *pair
	slot    uint8
	there   bool          // both ends have a device
	leaving int           // how many of the two ends' keys are to go
	keys    [2]intent.Key // ours, the peer's

	trails []*trail
	theirs [2]time.Time // when the peer last said that its router is open to us, by family
	cur    *trail       // its packets are sent there; nil: not known yet
	since  time.Time
	round  round
	nom    nomination
	hold   hold
	device Device    // what the kernel said last
	looked time.Time // when; zero: never
	came   time.Time // when something that the peer sealed was last seen to have come
	begun  time.Time // since both ends have a device
	lone   time.Time // since when there is no messenger; zero: one is there

	fed   time.Time // when something last came out of the device that is no mere beginning of a handshake
	psk   Preshared
	asof  time.Time // since when psk, and the device's key, are as they are
	bound bool      // it has had a pre-shared key
	bare  bool      // it may be sent by without one: it was before keys were wanted

	kept    time.Time // when one of the two ends was last known to send by it
	telling bool      // the peer is to hear by what we send
}

// set takes what is known of both ends.
func (t *tunnel) set(now time.Time) {
	mine, a := t.pair.m.me.SlotOf(t.slot)
	theirs, b := t.pair.peer.SlotOf(t.slot)
	keys := [2]intent.Key{mine.Key, theirs.Key}
	if !a || !b || t.there && t.keys != keys {
		*t = tunnel{pair: t.pair, slot: t.slot}
	}
	if !a || !b {
		return
	}
	if !t.there {
		t.there, t.keys, t.begun = true, keys, now
		t.pair.lines[lineWG+int(t.slot)].health = health{}
	}
	t.share(now)
	t.leaving = 0
	for _, s := range [...]intent.Slot{mine, theirs} {
		if s.Leaving {
			t.leaving++
		}
	}
	if t.renew(now) {
		t.retry(now)
	}
	t.settle(now)
}

// settle gives a tunnel without a trail the one that most surely works: one that has
// answered, or a relay. The peer may have begun elsewhere, and hears of the first.
func (t *tunnel) settle(now time.Time) {
	if t.cur != nil || t.pair.adopted && t.looked.IsZero() {
		return
	}
	r := t.best(func(r *trail) bool { return r.up })
	if r != nil && t.pair.nominates() {
		t.use(r, now)
		t.announce(now)
		return
	}
	if r == nil {
		r = t.best(func(r *trail) bool { return r.via.Server != "" })
	}
	if r != nil {
		t.use(r, now)
	}
}

// open tells whether packets of the tunnel can go anywhere.
func (t *tunnel) open() bool { return t.there && (t.cur != nil || t.pair.adopted) }

// line is the tunnel's in the data path.
func (t *tunnel) line() *line { return &t.pair.lines[lineWG+int(t.slot)] }

// sending tells whether the pair sends by the tunnel.
func (t *tunnel) sending() bool { return t.pair.at == t.line() }

// use sends the tunnel's packets by a trail.
func (t *tunnel) use(r *trail, now time.Time) {
	if t.cur == r {
		t.assert(now)
		return
	}
	old := t.cur
	t.cur, t.since = r, now
	if t.sending() {
		t.pair.since, t.pair.doubt, t.pair.adopted = now, time.Time{}, false
	}
	t.assertFor(now, old)
	l := t.line()
	l.flights, l.misses, l.rtt, l.next, l.why = flights{}, 0, 0, now, ""
	l.mtu.moved(now)
}

// expire counts what was not answered.
func (t *tunnel) expire(w *wake) {
	t.mind(w.now)
	for _, r := range t.trails {
		w.at(r.expire(w.now))
	}
}

// patience is how long a trail that was taken unproved may wait for its first answer
// while another has one.
const patience = 300 * time.Millisecond

// decide chooses the trail.
func (t *tunnel) decide(w *wake) {
	if !t.there {
		return
	}
	t.holding(w)
	if t.cur == nil {
		t.guess(w)
	}
	if t.cur == nil || t.nom.trail != nil {
		return
	}
	if r := t.successor(); r != nil {
		t.use(r, w.now)
		return
	}
	if !t.works() {
		if t.cur.answers == 0 && t.cur.misses == 0 && !t.cur.relayed() && w.now.Sub(t.since) < patience {
			w.at(t.since.Add(patience))
			return // its answer is under way, and may be a moment later than another's
		}
		if r := t.best(func(r *trail) bool { return r != t.cur && r.up && r.misses == 0 && !w.now.Before(r.barred) }); r != nil && t.pair.nominates() {
			t.nominate(r, w.now)
			return
		}
		if t.cur.misses >= misses && !t.sending() {
			if r := t.refuge(t.cur.answered, w.now); r != nil {
				t.use(r, w.now)
				t.announce(w.now)
			}
		}
		return
	}
	if !t.pair.nominates() {
		return
	}
	r := t.better(w)
	if t.dismissed() {
		r = t.best(func(r *trail) bool { return r.told && r.up && r.misses == 0 })
	}
	if r != nil {
		t.nominate(r, w.now)
	}
}

// successor is the proved trail to another address of a peer that names the one in use no
// more: an address that is about to go. Either end sends there by itself, as long as the
// old one still works, and has the peer answer from there.
func (t *tunnel) successor() *trail {
	own := func(r *trail) bool {
		return !r.relayed() && (r.source == intent.FromInterface || r.source == intent.FromExternal)
	}
	if t.cur.told || !own(t.cur) {
		return nil
	}
	return t.best(func(r *trail) bool {
		return r.told && own(r) && r.up && r.misses == 0 && r.addr.Addr().Is4() == t.cur.addr.Addr().Is4()
	})
}

// dismissed tells whether the trail in use is over a node that is to relay no more.
func (t *tunnel) dismissed() bool {
	via := t.cur.via.Node
	return via != "" && !t.cur.told && !t.pair.m.relays(via)
}

// works tells whether the trail in use is proved.
func (t *tunnel) works() bool {
	if t.sending() && t.line().up {
		return true
	}
	return t.cur.up
}

// better is a trail for which a working one may be left.
func (t *tunnel) better(w *wake) *trail {
	return t.best(func(r *trail) bool {
		if r == t.cur || !t.before(r, t.cur) {
			return false
		}
		if r.up && !r.stable.IsZero() {
			w.at(r.stable.Add(r.need()))
			w.at(r.barred)
		}
		return r.fit(w.now) && w.now.Sub(r.answered) < 3*climb
	})
}

// shelter is the trail to which a pair goes whose line is dead: of a tunnel that it
// sends by already, another than the one in use.
func (t *tunnel) shelter(since, now time.Time) *trail {
	if !t.there {
		return nil
	}
	if r := t.refuge(since, now); r != nil && (t.sending() || t.cur == nil || !t.cur.since(since) || t.before(r, t.cur)) {
		return r
	}
	if !t.sending() && t.cur != nil && t.cur.since(since) {
		return t.cur
	}
	return nil
}

// refuge is the best other trail that has answered since a time. One that died in use
// is the last resort.
func (t *tunnel) refuge(since, now time.Time) *trail {
	alive := func(r *trail) bool { return r != t.cur && r.since(since) }
	if r := t.best(func(r *trail) bool { return alive(r) && !now.Before(r.barred) }); r != nil {
		return r
	}
	var out *trail
	for _, r := range t.trails {
		if alive(r) && (out == nil || r.deaths < out.deaths) {
			out = r
		}
	}
	// Where all have died the trouble may lie elsewhere: they take turns, slower and
	// slower.
	if out == nil || now.Sub(t.since) < clamp(time.Duration(out.deaths)*time.Second, 2*time.Second, 30*time.Second) {
		return nil
	}
	return out
}

// guess sends to an address that nobody has answered from, where there is no relay: at
// once where little speaks against it, else after a while. It comes late because WireGuard begins a handshake where the first packet
// goes, and repeats it only after 5 s (WireGuard, section 6.4, Rekey-Timeout).
func (t *tunnel) guess(w *wake) {
	if t.pair.adopted && t.looked.IsZero() {
		return
	}
	if t.settle(w.now); t.cur != nil {
		return
	}
	if r := t.best(t.likely); r != nil {
		t.use(r, w.now)
		return
	}
	if !w.due(t.begun.Add(firstGuess)) {
		return
	}
	blind := t.blind(w.now)
	if !blind && !t.lone.IsZero() {
		w.at(t.lone.Add(awaits))
	}
	if r := t.best(func(r *trail) bool { return r.told && (blind || !t.shut(r)) }); r != nil {
		t.use(r, w.now)
	}
}

// likely tells whether packets to an address of the peer's own surely reach it: one on
// a link that both share, at one site. Elsewhere UDP may be lost, and a relay be
// connected in a moment.
func (t *tunnel) likely(r *trail) bool {
	me, peer := t.pair.m.me, t.pair.peer
	if !r.told || r.source != intent.FromInterface && r.source != intent.FromExternal {
		return false
	}
	ip := r.addr.Addr()
	shared := func(u intent.Underlay) bool { return u.Addr.Masked().Contains(ip) && u.Addr.Bits() < ip.BitLen() }
	return me.Site() == peer.Site() && slices.ContainsFunc(me.Underlay, shared)
}

// took handles what the kernel says of the peer.
func (t *tunnel) took(d Device, now time.Time) {
	if !t.looked.IsZero() {
		t.pair.traffic(t.used(d, now.Sub(t.looked)), t.sending(), now)
		if d.Received > t.device.Received {
			t.came = now
		}
	}
	if t.opens(d) {
		t.fed = now
	}
	psk := t.device.PSK
	t.device, t.looked = d, now
	if psk != d.PSK {
		t.keyed(now)
	}
	switch {
	case !t.there:
	case !d.Endpoint.IsValid():
		if t.cur != nil && !t.hold.active() {
			t.assert(now)
		}
		t.settle(now)
	case t.cur != nil && t.cur.sentTo(d.Endpoint):
		t.hold.match(now)
	case t.hold.active():
		t.hold.mismatch(now)
	default:
		t.follow(d.Endpoint, now)
	}
}

// sentTo tells whether packets to an endpoint go by the trail.
func (r *trail) sentTo(a netip.AddrPort) bool {
	if r.relayed() {
		return a.Addr().IsLoopback()
	}
	return a == r.addr
}

// follow goes where the kernel went: its peer has roamed, or has been found there at
// the start. What is in the kernel was authenticated by WireGuard.
func (t *tunnel) follow(a netip.AddrPort, now time.Time) {
	var r *trail
	if a.Addr().IsLoopback() {
		r = t.best(func(r *trail) bool { return r.relayed() && r.up })
		if r == nil {
			r = t.best(func(r *trail) bool { return r.relayed() })
		}
	} else {
		r = t.learn(a, Via{}, now)
	}
	if r == nil || r == t.cur {
		if t.cur == nil {
			t.settle(now)
		}
		return
	}
	adopted := t.pair.adopted
	t.use(r, now)
	t.hold, t.pair.adopted = hold{again: t.hold.again}, adopted
	r.next = now
}

// used tells whether there was traffic since the kernel was last looked at: more bytes
// than both ends' probes make.
func (t *tunnel) used(d Device, took time.Duration) bool {
	const probes = 2000 // bytes a second that the probes of a pair come to, padded ones and both ends' together
	if d.Sent < t.device.Sent || d.Received < t.device.Received {
		return false // another device of the same name
	}
	bytes := d.Sent - t.device.Sent + d.Received - t.device.Received
	return float64(bytes) > probes*max(took.Seconds(), 1)
}

// stuckAfter is longer than WireGuard needs for several handshakes, each 5 s after the
// last (WireGuard, section 6.1, Rekey-Timeout).
const stuckAfter = 20 * time.Second

// unread is how long ago the devices must have been read to be known.
const unread = 5 * lookIdle

// stuck tells whether the probes of a tunnel in use are answered while nothing comes
// out of it: the keys or the clocks of the two ends do not agree. WireGuard takes a
// handshake only if its timestamp is later than that of the last one (WireGuard,
// section 5.1), so that a node whose clock went back is taken for somebody who replays.
// A device counts what it could open, so that where its count grows nothing is refused:
// there answers only take longer than they are waited for; and a device that is not read
// says nothing either way.
func (t *tunnel) stuck(now time.Time) bool {
	l := t.line()
	return t.there && t.sending() && !l.up && t.cur != nil && now.Sub(t.pair.m.looked) < unread &&
		t.best(func(r *trail) bool { return r.since(now.Add(-stuckAfter)) }) != nil &&
		now.Sub(later(later(l.answered, t.came), later(t.begun, t.pair.entered))) > stuckAfter
}

// tell has the peer hear by what we send now, so that it can give up what we have
// left.
func (t *tunnel) tell() {
	if t.there && t.cur != nil {
		t.telling = true
	}
}
