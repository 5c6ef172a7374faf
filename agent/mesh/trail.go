package mesh

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// trail is one way for the ciphertext of a tunnel.
type trail struct {
	health
	addr     netip.AddrPort // zero over a relay
	via      Via
	source   intent.Source // of addr; empty: only the kernel has told
	told     bool          // by the intent: else by a packet
	fresh    bool          // not tried since it, or our own network, is as it is
	observed netip.AddrPort
	next     time.Time // not probed before
	tries    int       // left of this round
	heard    time.Time // last
	opened   time.Time // when our router was last opened to it
	rest     time.Time // it is left in peace until then
	fails    int       // how often both routers were opened in vain
}

func (r *trail) relayed() bool { return r.via != Via{} }

// is tells whether a packet from an address or over a relay came on the trail.
func (r *trail) is(addr netip.AddrPort, via Via) bool { return r.addr == addr && r.via == via }

// rung is what the trail makes of WireGuard. An address of the peer's own, or one of
// ours as the peer sees it, is reachable for everybody; otherwise a router let us in
// because it had let somebody out.
func (t *tunnel) rung(r *trail) Rung {
	switch {
	case r == nil:
		return None
	case r.via.Server != "":
		return ByServer
	case r.via.Node != "":
		return ByNode
	case r.source == intent.FromInterface || r.source == intent.FromExternal:
		return WireGuard
	}
	is4 := r.addr.Addr().Is4()
	me, peer := t.pair.m.me, t.pair.peer
	if peer.NATOf(is4) == intent.NATNone || me.NATOf(is4) == intent.NATNone || own(me, r.observed) {
		return WireGuard
	}
	return Punched
}

// own tells whether an address as a peer sees it is one of the node's, so that no
// router changes it.
func own(me intent.Peer, a netip.AddrPort) bool {
	if !a.IsValid() {
		return false
	}
	for _, c := range me.Candidates {
		switch {
		case c.Source == intent.FromInterface && c.Addr.Addr() == a.Addr():
			return true
		case c.Source == intent.FromExternal && c.Addr == a:
			return true
		}
	}
	for _, u := range me.Underlay {
		if u.Addr.Addr() == a.Addr() {
			return true
		}
	}
	return false
}

// natted tells whether a router stands before us on the trail, which forgets us when
// we are silent.
func (t *tunnel) natted(r *trail) bool {
	if r.relayed() {
		return false
	}
	if r.observed.IsValid() {
		return !own(t.pair.m.me, r.observed)
	}
	n := t.pair.m.me.NATOf(r.addr.Addr().Is4())
	return n == intent.NATEasy || n == intent.NATHard
}

// astray tells whether a trail goes straight while the pair is to meet over gateways:
// one in use is left as soon as a gateway's is proved, and no other is taken before one.
func (t *tunnel) astray(r *trail) bool { return !r.relayed() && t.pair.meets() }

// before tells whether a is the better trail: of a better rung, or 20 % quicker.
func (t *tunnel) before(a, b *trail) bool {
	if b == nil {
		return true
	}
	if x, y := t.astray(a), t.astray(b); x != y {
		return y
	}
	x, y := t.rung(a), t.rung(b)
	if x != y {
		return x < y
	}
	return quicker(a.rtt, b.rtt)
}

// quicker tells whether a round trip is 20 % shorter, by more than the noise of a LAN.
func quicker(a, b time.Duration) bool {
	return a > 0 && b > 0 && a < b*4/5 && b-a > 2*time.Millisecond
}

// best is the best trail of those that pass.
func (t *tunnel) best(pass func(*trail) bool) (out *trail) {
	for _, r := range t.trails {
		if pass(r) && (out == nil || t.rather(r, out)) {
			out = r
		}
	}
	return out
}

// rather tells whether to choose a of two trails none of which is in use: by rung, then
// by a round trip that is clearly shorter, then in the family that the two nodes' own
// addresses prefer, then by any difference.
func (t *tunnel) rather(a, b *trail) bool {
	x, y := t.rung(a), t.rung(b)
	switch p, q := t.astray(a), t.astray(b); {
	case p != q:
		return q
	case x != y:
		return x < y
	case quicker(a.rtt, b.rtt) || quicker(b.rtt, a.rtt):
		return a.rtt < b.rtt
	}
	if f, ok := t.pair.family(); ok && a.addr.IsValid() && b.addr.IsValid() {
		if p, q := a.addr.Addr().Is4() == f, b.addr.Addr().Is4() == f; p != q {
			return p
		}
	}
	return a.rtt < b.rtt
}

// family is that of the underlay addresses which the pair uses in the clear: the first
// of the lower-named node that both have.
func (p *pair) family() (is4, ok bool) {
	first, other := p.m.me, p.peer
	if p.name < p.m.self {
		first, other = other, first
	}
	for _, u := range first.Underlay {
		is4 = u.Addr.Addr().Is4()
		if _, ok = other.UnderlayOf(is4); ok {
			return is4, true
		}
	}
	return false, false
}
