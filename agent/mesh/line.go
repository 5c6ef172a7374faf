package mesh

import (
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// line is a set of devices of the data path toward one peer.
type line struct {
	health
	over Over
	rule
	mtu   search
	next  time.Time // not probed before
	tries int       // left of this round
	round time.Time // the next
	wait  time.Duration
}

// rule is whether the intent permits a line.
type rule struct {
	now    bool   // by the carrier that the pair sends by
	old    bool   // by another that packets are taken by still: a pair that is there may stay
	meant  bool   // by the carrier that the cluster goes to, whoever is behind
	reason string // why, or why not
}

// The lines of a pair.
const (
	lineDirect = iota
	lineVXLAN
	lineSpare
	lineWG
	lines = lineWG + intent.Slots
)

func (p *pair) lay() {
	p.lines[lineDirect].over = Over{Rung: Direct}
	p.lines[lineVXLAN].over = Over{Rung: VXLAN}
	p.lines[lineSpare].over = Over{Rung: VXLAN, Spare: true}
	for s := range p.tunnels {
		p.lines[lineWG+s].over = Over{Rung: WireGuard, Slot: uint8(s)}
	}
}

// line returns that of some devices.
func (p *pair) line(o Over) *line {
	for i := range p.lines {
		if p.lines[i].over == o {
			return &p.lines[i]
		}
	}
	return nil
}

// tunnel returns that of a line, or nil.
func (p *pair) tunnel(l *line) *tunnel {
	if l == nil || l.over.Rung != WireGuard {
		return nil
	}
	return &p.tunnels[l.over.Slot]
}

// rungOf is where the pair would stand on a line.
func (p *pair) rungOf(l *line) Rung {
	switch t := p.tunnel(l); {
	case l == nil:
		return None
	case t == nil:
		return l.over.Rung
	case t.cur == nil:
		return ByServer
	default:
		return t.rung(t.cur)
	}
}

// permit evaluates the cluster's rules for all lines.
func (p *pair) permit() {
	c, me, peer := p.m.in.Intent.Cluster, p.m.me, p.peer
	for i := range p.lines {
		p.lines[i].rule = rule{}
	}
	sent := c.Toward(me.Name, peer.Name)
	p.rule(sent.Spare, c.Ways(me, peer), func(r *rule, w intent.Way) { r.now, r.reason = w.OK, w.Why })
	bare := c
	bare.Receive, bare.Behind = nil, nil
	goal := bare.Ways(me, peer)
	p.rule(c.Spare, goal, func(r *rule, w intent.Way) { r.meant, r.old = w.OK, r.old || w.OK && !r.now })
	for _, k := range c.Receive {
		p.rule(k.Spare, bare.By(k).Ways(me, peer), func(r *rule, w intent.Way) { r.old = r.old || w.OK && !r.now })
	}
	p.seal(c.Carrier().Meshed() && !goal.Direct.OK && !goal.VXLAN.OK)
	p.unlock()
}

// rule applies f to each line and what the ways of one carrier say of it.
func (p *pair) rule(spare bool, w intent.Ways, f func(*rule, intent.Way)) {
	f(&p.lines[lineDirect].rule, w.Direct)
	vxlan := lineVXLAN
	if spare {
		vxlan = lineSpare
	}
	f(&p.lines[vxlan].rule, w.VXLAN)
	for s := range p.tunnels {
		way := w.WireGuard
		if way.OK && !p.tunnels[s].there {
			way = intent.Way{Why: "not both ends have a device of the slot"}
		}
		f(&p.lines[lineWG+s].rule, way)
	}
}

// seal takes the lines in the clear from a pair that must be encrypted, once it has
// been.
func (p *pair) seal(required bool) {
	p.sealed = required && (p.sealed || p.at != nil && p.at.over.Rung == WireGuard && (p.at.up || p.adopted))
	p.required = required
	if !p.sealed {
		return
	}
	for i := range lineWG {
		l := &p.lines[i]
		if l.now || l.old {
			l.now, l.old, l.reason = false, false, "has been encrypted, and must be"
		}
	}
}

// may tells whether the pair may be on a line.
func (l *line) may() bool { return l.now || l.old }
