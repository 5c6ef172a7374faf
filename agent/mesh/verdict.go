package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// clear is the verdict of a line in the clear.
func (p *pair) clear(l *line, now time.Time) Verdict {
	v := Verdict{Rung: l.over.Rung.String(), Why: l.reason}
	switch {
	case l == p.at && l.up:
		v.Result = resultUse
	case l == p.at && p.proving(now):
		v.Result, v.Why = resultUse, "not proved yet"
	case l == p.at:
		v.Result, v.Why = resultUse, "does not answer, and nothing else does"
	case !l.now:
		v.Result = resultRefused
	case l.up:
		v.Result, v.Why = resultWorks, p.holdOff(&l.health)
	case l.probes == 0:
		v.Result, v.Why = resultNo, "not probed yet"
	case l.why != "":
		v.Result, v.Why = resultNo, l.why
	default:
		v.Result, v.Why = resultNo, p.unanswered(l)
	}
	return v
}

// unanswered names the probe that nobody answered.
func (p *pair) unanswered(l *line) string {
	from, to, dev := p.ends()
	if l.over.Rung == Direct {
		return fmt.Sprintf("no shared L2: no reply to %d probes from %v to %v on %s", l.probes, from, to, dev)
	}
	return fmt.Sprintf("no reply to %d probes from %v to %v", l.probes, from, to)
}

func (p *pair) ends() (from, to netip.Addr, dev string) {
	for _, a := range p.m.me.Fabric() {
		if b, ok := p.peer.FabricOf(a.Is4()); ok {
			from, to = a, b
			break
		}
	}
	if len(p.m.me.Underlay) > 0 {
		dev = p.m.me.Underlay[0].Device
	}
	return from, to, dev
}

// times is how often, in words.
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// above says why the pair is on a relay.
func (p *pair) above(t *tunnel) string {
	at, meets := t.rung(t.cur), p.meets()
	if r := t.best(func(r *trail) bool { return r.up && t.rung(r) < at && (!meets || t.rung(r) == ByNode) }); r != nil {
		return fmt.Sprintf("%s answers, and is taken once it has for %v", r.name(), r.need())
	}
	return "no better way answers"
}

// kind is where the address was learnt from, and whether it is private.
func (r *trail) kind() string {
	out := cmp.Or(string(r.source), "the kernel")
	if r.addr.Addr().IsPrivate() {
		out += ", private"
	}
	return out
}

// holdOff says why a way that works is not used.
func (p *pair) holdOff(h *health) string {
	switch {
	case h.deaths > 0:
		return fmt.Sprintf("answers; it died %s in use, so it must stay for %v", times(h.deaths), h.need())
	case h.stable.IsZero() || h.misses > 0:
		return "answers, but not always"
	}
	return fmt.Sprintf("answers, rtt %s", millis(h.rtt))
}

// sealedOff is the verdict where a pair has no tunnel.
func (p *pair) sealedOff(v Verdict) Verdict {
	v.Result, v.Why = resultRefused, p.lines[lineWG].reason
	return v
}

// reach is the verdict of WireGuard straight to an address.
func (p *pair) reach(t *tunnel, rung Rung, now time.Time) Verdict {
	v := Verdict{Rung: rung.String()}
	switch {
	case t == nil:
		return p.sealedOff(v)
	case p.meets():
		v.Result, v.Why = resultOff, "topology site-gateways: the pair meets over "+strings.Join(p.gateways(), ", ")
		return v
	case p.using(t, rung):
		v.Result, v.Why = resultUse, "endpoint "+t.cur.addr.String()
		switch {
		case p.proving(now):
			v.Why += ", not proved yet"
		case !p.at.up:
			v.Why += ", which does not answer; nothing else does"
		}
		return v
	}
	if r := t.best(func(r *trail) bool { return r.up && t.rung(r) == rung }); r != nil {
		v.Result, v.Why = resultWorks, r.addr.String()+" "+p.holdOff(&r.health)
		return v
	}
	if rung == Punched {
		return p.punched(t, v, now)
	}
	v.Result, v.Why = resultSilent, t.offers()
	return v
}

// using tells whether the pair sends on a rung of a tunnel.
func (p *pair) using(t *tunnel, rung Rung) bool {
	return p.tunnel(p.at) == t && t.cur != nil && t.rung(t.cur) == rung
}

// is4 tells which family's routers are spoken of: that of the node's first address.
func (t *tunnel) is4() bool {
	u := t.pair.m.me.Underlay
	return len(u) == 0 || u[0].Addr.Addr().Is4()
}

// punched is the verdict of a rung on which two routers have to be opened.
func (p *pair) punched(t *tunnel, v Verdict, now time.Time) Verdict {
	is4 := t.is4()
	mine, theirs := p.m.me.NATOf(is4), p.peer.NATOf(is4)
	if mine == intent.NATNone || theirs == intent.NATNone {
		v.Result, v.Why = resultNo, "no router to be opened at both ends"
		return v
	}
	v.Result = resultFailed
	v.Why = fmt.Sprintf("%s %s; %s %s; %d tries, next in %v or when an address changes",
		p.name, natWord(theirs), p.m.self, natWord(mine), t.round.n, max(0, t.round.next.Sub(now)).Round(time.Second))
	return v
}

// natWord is a class as operators call it.
func natWord(n intent.NAT) string {
	switch n {
	case intent.NATNone:
		return "no NAT"
	case intent.NATEasy:
		return "easy NAT (one port for all)"
	case intent.NATHard:
		return "symmetric NAT"
	case intent.NATBlocked:
		return "UDP blocked"
	}
	return "NAT not known"
}

// offers lists what the peer offers, and how it was tried.
func (t *tunnel) offers() string {
	var list []string
	probes, answers := 0, 0
	why := ""
	for _, r := range t.trails {
		if r.relayed() || !r.told || t.rung(r) != WireGuard {
			continue
		}
		list = append(list, r.addr.String()+" ("+r.kind()+")")
		probes += r.probes
		answers += r.answers
		why = cmp.Or(why, r.why)
	}
	if len(list) == 0 {
		return t.pair.name + " offers no address that can be reached from here"
	}
	out := fmt.Sprintf("%s offers %s (%d probes, %d answers)", t.pair.name, strings.Join(list, ", "), probes, answers)
	if why != "" {
		out += "; " + why
	}
	return out
}

// relay is the verdict of a relayed rung.
func (p *pair) relay(t *tunnel, rung Rung, now time.Time) Verdict {
	v := Verdict{Rung: rung.String()}
	if t == nil {
		return p.sealedOff(v)
	}
	r := t.best(func(r *trail) bool { return t.rung(r) == rung && r.up })
	if p.using(t, rung) {
		r = t.cur
	}
	if r == nil {
		r = t.best(func(r *trail) bool { return t.rung(r) == rung })
	}
	if r == nil {
		v.Result, v.Why = resultOff, p.noRelay(rung)
		return v
	}
	over := r.via.Server + r.via.Node
	v.Rung = "relayed (" + over + ")"
	switch {
	case p.using(t, rung):
		v.Result, v.Why = resultUse, p.above(t)
		switch {
		case p.proving(now):
			v.Why = "not proved yet"
		case !p.at.up:
			v.Why = "does not answer, and nothing else does"
		}
	case r.up:
		v.Result, v.Why = resultWorks, p.holdOff(&r.health)
	default:
		v.Result, v.Why = resultSilent, fmt.Sprintf("%d probes, %d answers", r.probes, r.answers)
	}
	return v
}

func (p *pair) noRelay(rung Rung) string {
	switch {
	case rung == ByNode:
		return fmt.Sprintf("no node carries %s=true", intent.RelayLabel)
	case len(p.m.in.Relays) == 0:
		return "no server's relay is connected"
	}
	return fmt.Sprintf("%s is connected to none of the relays %s", p.name, strings.Join(p.m.in.Relays, ", "))
}

// name is the trail in words.
func (r *trail) name() string {
	if r.relayed() {
		return r.via.Server + r.via.Node
	}
	return r.addr.String()
}
