package mesh

import (
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Preshared is how a tunnel may be there, as package preshared has it. The zero value
// is one that is not to be there yet.
type Preshared struct {
	Own, Theirs intent.Key // of which tunnel it is said
	Key         [32]byte   // SHA-256 of the pre-shared key; zero: none
	Open        bool       // there without one
}

func (s Preshared) there() bool { return s.Open || s.Key != [32]byte{} }

// Tunnel is what package preshared asks of a tunnel.
type Tunnel struct {
	Bare bool     // one of the two ends sends by it without a key, or may: since before keys were wanted
	Mute bool     // its ciphertext arrives, and nothing comes out of it
	Key  [32]byte // SHA-256 of the pre-shared key that the device has; zero: none
}

// Tunnels is what is known of all tunnels, by peer.
func (m *Machine) Tunnels(now time.Time) map[string][intent.Slots]Tunnel {
	out := make(map[string][intent.Slots]Tunnel, len(m.pairs))
	for name, p := range m.pairs {
		var list [intent.Slots]Tunnel
		for s := range p.tunnels {
			t := &p.tunnels[s]
			list[s] = Tunnel{Bare: t.carries(), Mute: t.mute(now), Key: t.device.PSK}
		}
		out[name] = list
	}
	return out
}

// share takes how the tunnel may be there.
func (t *tunnel) share(now time.Time) {
	in := &t.pair.m.in
	next := in.Preshared[t.pair.name][t.slot]
	if next.Own != t.keys[0] || next.Theirs != t.keys[1] {
		next = Preshared{Own: t.keys[0], Theirs: t.keys[1], Open: !in.Intent.Cluster.PostQuantum}
	}
	switch {
	case next.Key != [32]byte{}:
		t.bound, t.bare = true, false
	case !in.Intent.Cluster.PostQuantum:
		t.bound, t.bare = false, true
	}
	if next == t.psk {
		return
	}
	was := t.psk
	t.psk = next
	t.keyed(now)
	if !was.there() && t.cur != nil {
		t.assert(now) // the device forgot the endpoint with the peer
	}
}

// agreeing tells whether the tunnel is there without a key for no more than to agree on
// one.
func (t *tunnel) agreeing() bool {
	return t.pair.m.in.Intent.Cluster.PostQuantum && t.psk.Open && !t.carries()
}

// carries tells whether pods' packets go by the tunnel without a key, or may.
func (t *tunnel) carries() bool { return t.bare && t.pair.keeps(t.slot) }

// keyed takes it that the tunnel has another key: what was found out of it counts no
// more.
func (t *tunnel) keyed(now time.Time) {
	t.asof = now
	l := t.line()
	if t.pair.at != l {
		l.health = health{}
	}
	t.pair.permit()
	if l.now {
		l.retry(now)
	}
}

// watched is for how long the device is looked at again and again for a key that it is
// about to have.
const watched = 5 * time.Second

// await looks soon whether the device has the key.
func (t *tunnel) await(w *wake) {
	if t.there && t.psk.Key != t.device.PSK && w.now.Sub(t.asof) < watched {
		t.pair.m.look(w)
		w.at(w.now.Add(lookHold))
	}
}

// locked says why the pair may not begin to send by the tunnel; empty: it may. It needs
// its key in the very device, which has made the peer anew with it: so what answers is
// a handshake with that key.
func (t *tunnel) locked() string {
	switch peer := t.pair.peer; {
	case !t.pair.m.in.Intent.Cluster.PostQuantum:
		return ""
	case !peer.Preshared:
		return peer.Name + "'s agent is of a release without pre-shared keys"
	case t.psk.Key == [32]byte{} && t.pair.unheard(t.pair.m.now):
		return "none yet: it waits for the agent of " + peer.Name + ", which is not heard"
	case t.psk.Key == [32]byte{} && t.pair.at == t.line():
		return "none yet: keys are changed for it"
	case t.psk.Key == [32]byte{}:
		return "not agreed on yet"
	case t.psk.Key != t.device.PSK:
		return "agreed on, and not in the device yet"
	}
	return ""
}

// unlock takes the tunnels from the pair that have not the key that they need. A pair
// that is on one stays if it began before keys were wanted, or if the key is about to be
// in the device.
func (p *pair) unlock() {
	for s := range p.tunnels {
		t := &p.tunnels[s]
		l := t.line()
		why := t.locked()
		if !l.now && !l.old || why == "" {
			continue
		}
		l.now, l.old, l.reason = false, p.peer.Preshared && (t.bare || t.psk.Key != [32]byte{}), "pre-shared key: "+why
	}
}

// beginning is the first message of a handshake in bytes (WireGuard, section 5.4.2). The
// pre-shared key enters with the second: of an end that has another one no more than
// this is taken.
const beginning = 148

// opens tells whether the device has taken more of the peer, since it was last looked
// at, than beginnings of handshakes.
func (t *tunnel) opens(d Device) bool {
	return d.Received > t.device.Received && (d.Received-t.device.Received)%beginning != 0
}

// mute tells whether nothing comes out of a tunnel that has a key, while its ciphertext
// arrives: the two ends have not the same.
func (t *tunnel) mute(now time.Time) bool {
	l := t.line()
	return t.there && t.psk.Key != [32]byte{} && t.device.PSK == t.psk.Key && !l.up && l.misses > 0 &&
		now.Sub(later(later(t.device.Handshake, t.fed), later(l.vain, t.asof))) > stuckAfter &&
		t.best(func(r *trail) bool { return r.since(now.Add(-stuckAfter)) }) != nil
}

// shown is the tunnel that is explained: by which the pair sends, or would.
func (p *pair) shown() *tunnel {
	if t := p.talk(); t != nil {
		return t
	}
	for s := range p.tunnels {
		if p.tunnels[s].there {
			return &p.tunnels[s]
		}
	}
	return nil
}
