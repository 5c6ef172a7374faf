package datapath

import (
	"cmp"
	"slices"
	"strings"
)

// Diff puts the steps from have to want in an order that loses no packet.
//
// First comes everything of nftables, deletes before adds: package kernel makes
// one transaction of it, so that no packet sees it half done, and the firewall
// stands before anything is routed. Then devices, addresses, forwarding entries,
// neighbours and routes are added or replaced, each after what it rests on;
// last, what is stale is deleted in the opposite order. What the kernel can
// replace in place is one step: a peer that moves from VXLAN to a direct path is
// one replaced route.
//
// A device that must be made anew, is missing, or was down has lost what rested
// on it, and an address that is missing has taken the routes with it as their
// source: these are added again even if have still holds them, because have may
// be older for one kind than for another. Sysctls are never deleted: the setting
// stays as somebody needs it.
//
// The result depends on nothing but the two values.
func Diff(want, have State) []Op {
	p := plan{want: canonical(want), have: canonical(have)}
	p.findLost()
	for k, w := range p.want {
		p.add(k, w)
	}
	for k, h := range p.have {
		p.remove(k, h)
	}
	slices.SortFunc(p.steps, func(a, b step) int {
		return cmp.Or(
			cmp.Compare(a.phase, b.phase),
			cmp.Compare(a.rank, b.rank),
			strings.Compare(a.chain, b.chain),
			cmp.Compare(a.index, b.index),
			strings.Compare(a.key.ID, b.key.ID),
		)
	})
	ops := make([]Op, len(p.steps))
	for i, s := range p.steps {
		ops[i] = s.op
	}
	return ops
}

// phase is when a step is taken.
type phase int

const (
	firewallDelete phase = iota
	firewallAdd
	add
	remove
)

// step is an Op with its place.
type step struct {
	op    Op
	phase phase
	rank  int
	chain string // of a rule
	index int    // of a rule
	key   Key
}

type plan struct {
	want, have State
	lost       lost
	steps      []step
}

// add plans what makes one wanted object so.
func (p *plan) add(k Key, w Object) {
	h, ok := p.have[k]
	if ok && p.lost.has(h) {
		if p.stays(h) {
			p.step(firewallDelete, k, Op{Old: h})
		}
		h, ok = nil, false
	}
	when := add
	if isFirewall(k.Kind) {
		when = firewallAdd
	}
	switch {
	case !ok:
		p.step(when, k, Op{New: w})
	case !same(w, h):
		p.step(when, k, Op{Old: h, New: w})
	}
}

// stays tells whether a lost object is still there and must be deleted before
// it can be added again. Elements go with their set and rules with their chain;
// what rests on a device goes with it.
func (p *plan) stays(o Object) bool {
	switch o := o.(type) {
	case Set, Chain:
		return true
	case Rule:
		return p.have[Key{KindChain, o.Chain}] != nil
	case Element:
		return !p.lost.sets[o.Set]
	}
	return false
}

// remove plans the end of one object that nobody wants.
func (p *plan) remove(k Key, h Object) {
	if _, ok := p.want[k]; ok || k.Kind == KindSysctl {
		return
	}
	if p.lost.has(h) && !p.stays(h) {
		return
	}
	when := remove
	if isFirewall(k.Kind) {
		when = firewallDelete
		if e, ok := h.(Element); ok && p.want[Key{KindSet, e.Set}] == nil {
			return // goes with its set
		}
	}
	p.step(when, k, Op{Old: h})
}

func (p *plan) step(when phase, k Key, op Op) {
	s := step{op: op, phase: when, key: k}
	o := op.New
	if o == nil {
		o = op.Old
	}
	s.rank = p.rank(o)
	switch o := o.(type) {
	case Rule:
		s.chain, s.index = o.Chain, o.Index
	case ForeignRule:
		s.chain, s.index = o.Chain, -1
	}
	if when == remove || when == firewallDelete {
		s.rank = -s.rank
	}
	if when == firewallDelete && k.Kind == KindChain {
		s.rank = 0 // last: a map of verdicts that goes may still lead to it
	}
	p.steps = append(p.steps, s)
}

// rank is what rests on what: lower first. A forwarding entry comes before the
// neighbour that leads to it, so that a peer's new MAC is never without one.
func (p *plan) rank(o Object) int {
	switch o := o.(type) {
	case Sysctl:
		return p.sysctlRank(o)
	case Link:
		return 2
	case Addr:
		return 4
	case FDB, WGPeer:
		return 5
	case Neigh:
		return 6
	case Route:
		if !o.Via.IsValid() {
			return 7 // a gateway may be reached through it
		}
		return 8
	}
	return int(o.Key().Kind) // Set, Chain, Element, Rule
}

// sysctlRank: settings of others' devices first (accept_ra=2 must stand before
// forwarding is switched on), then the global ones, those of our devices once
// the device is there.
func (p *plan) sysctlRank(s Sysctl) int {
	dev := s.Dev()
	if dev == "" {
		return 1
	}
	if _, ours := p.want[Key{KindLink, dev}]; ours {
		return 3
	}
	return 0
}

func isFirewall(k Kind) bool { return k >= KindSet }
