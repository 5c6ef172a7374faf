package mesh

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Two routers are opened by both ends together. A router that gets a packet before it
// has let one out to where that came from may keep the two ports for it, as its own
// affair (netfilter does, where the router's own firewall accepts), and gives what goes
// out afterwards another port: to that end, and to all who are met later (net/netfilter/
// nf_nat_core.c, find_appropriate_src), whose routers never let it in. So each end first
// opens its own router, by a datagram that dies between the two, says so over a relay,
// with the address that it has opened to, and sends nothing that arrives before the other
// has said the same; an end that has no router has nothing to open and waits all the
// same. Where it fails nevertheless, because the ports were lost before or a router was
// started anew, both are silent for longer than a router remembers what nobody answered.

// shut tells whether a router may stand before the address. That an address is private
// says nothing: routers stand inside of larger networks, too.
func (t *tunnel) shut(r *trail) bool {
	if r.relayed() || r.up || r == t.cur || r.source == intent.FromInterface {
		return false
	}
	return t.pair.peer.NATOf(r.addr.Addr().Is4()) != intent.NATNone
}

// behind tells whether a router may stand before us, in the family of the address.
func (t *tunnel) behind(r *trail) bool {
	return t.pair.m.me.NATOf(r.addr.Addr().Is4()) != intent.NATNone
}

// messenger is the trail over which the two ends speak of their routers; nil: none is
// there. One that is gone for a moment may be back in the next.
func (t *tunnel) messenger() *trail {
	if r := t.best(func(r *trail) bool { return r.relayed() && r.up }); r != nil {
		return r
	}
	return t.best(func(r *trail) bool { return r.via.Server != "" })
}

// mind notes since when there is no messenger.
func (t *tunnel) mind(now time.Time) {
	switch {
	case !t.there, t.messenger() != nil:
		t.lone = time.Time{}
	case t.lone.IsZero():
		t.lone = now
	}
}

// blind tells whether there has been no messenger for so long that routers are opened
// without a word to the peer.
func (t *tunnel) blind(now time.Time) bool { return !t.lone.IsZero() && now.Sub(t.lone) >= awaits }

// punch opens our own router to addresses before which another may stand. The end that
// calls has the peer do the same.
func (t *tunnel) punch(list []*trail, called bool, now time.Time) {
	by := t.messenger()
	if by == nil && !t.blind(now) {
		t.round.sooner(t.lone.Add(awaits))
		return
	}
	for _, r := range list {
		if r.rests(called, now) {
			t.round.sooner(r.rest)
			continue
		}
		if !t.pair.m.budget.take(now) {
			continue
		}
		r.opened, r.tries, r.next = now, tries, now
		if t.behind(r) {
			t.pair.m.act(Probe{ID: t.pair.m.id(), Peer: t.pair.name, Slot: t.slot, To: r.addr, TTL: openers[t.round.n%len(openers)], Sends: t.pair.sending()})
		}
		if by == nil {
			r.next = now.Add(opener)
			continue
		}
		by.probes++
		t.pair.m.act(Probe{ID: t.pair.m.id(), Peer: t.pair.name, Slot: t.slot, To: by.addr, Via: by.via, Call: !called, Opened: r.addr, Sends: t.pair.sending()})
	}
}

// openers are the hops that datagrams have which open our own router, round by round:
// past it, and not as far as the other.
var openers = [...]int{2, 3, 4}

// rests tells whether the address is left in peace, so that routers forget. Who is
// called may end it a little sooner: the two ends began it at different times.
func (r *trail) rests(called bool, now time.Time) bool {
	if called {
		return !r.rest.IsZero() && now.Sub(r.asked) < forgets
	}
	return now.Before(r.rest)
}

// spoils tells whether a try of an address that has not answered would keep alive the
// port which our router must forget: it gives one source one port.
func (t *tunnel) spoils(tr *trail, called bool, now time.Time) bool {
	if tr.relayed() || tr.up || tr == t.cur || tr.fresh || t.shut(tr) || !t.behind(tr) {
		return false
	}
	return t.best(func(r *trail) bool {
		return t.shut(r) && r.addr.Addr().Is4() == tr.addr.Addr().Is4() && r.rests(called, now)
	}) != nil
}

// gated tells whether the peer is yet to open its router to us.
func (t *tunnel) gated(r *trail, now time.Time) bool {
	if !t.shut(r) || t.blind(now) || now.Sub(r.heard) < opens {
		return false
	}
	return now.Sub(r.opened) >= opens || now.Sub(t.theirs[family(r.addr.Addr())]) >= opens
}

// opened takes an address to which the peer says that its router is open. It counts if
// it is one of ours, or if we do not know yet as what others see us.
func (t *tunnel) opened(to netip.AddrPort, now time.Time) {
	if !to.IsValid() {
		return
	}
	other := false
	for _, c := range t.pair.m.me.Candidates {
		if c.Addr == to && c.Slot == t.slot {
			other = false
			break
		}
		other = other || c.Slot == t.slot && c.Source != intent.FromInterface && c.Addr.Addr().Is4() == to.Addr().Is4()
	}
	if !other {
		t.theirs[family(to.Addr())] = now
	}
}

// family is 0 for IPv4, 1 for IPv6.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// tired counts a try of an address before which a router may stand: what is not
// answered is followed by a rest.
func (t *tunnel) tired(r *trail, now time.Time) {
	if !t.shut(r) || t.blind(now) {
		return
	}
	if r.tries == tries-1 {
		r.fails++
	}
	r.rest = now.Add(clamp(silence<<min(max(r.fails-1, 0), 10), silence, roundMax))
}
