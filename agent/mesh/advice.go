package mesh

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// help says what an operator can do for a better rung; empty: nothing is to be gained.
func (p *pair) help(t *tunnel, now time.Time) string {
	if t == nil || p.at == nil || t.cur == nil && p.at.up {
		return ""
	}
	if t.stuck(now) {
		return fmt.Sprintf("probes of %v are answered and WireGuard is not: the clock of one end went back, or the keys differ; weft rotate keys %s", t.cur.name(), p.m.self)
	}
	if p.rungOf(p.at) <= WireGuard || p.meets() {
		return ""
	}
	is4 := t.is4()
	mine, theirs := p.m.me.NATOf(is4), p.peer.NATOf(is4)
	switch {
	case mine == intent.NATBlocked && theirs == intent.NATBlocked:
		return fmt.Sprintf("let UDP out of the networks of %s and of %s: nothing of it reaches the servers", p.name, p.m.self)
	case theirs == intent.NATBlocked:
		return blocked(p.name)
	case mine == intent.NATBlocked:
		return blocked(p.m.self)
	}
	for _, ends := range [...][2]intent.Peer{{p.peer, p.m.me}, {p.m.me, p.peer}} {
		if s := t.letIn(ends[0], ends[1]); s != "" {
			return s
		}
	}
	port := uint16(0)
	if s, ok := p.peer.SlotOf(t.slot); ok {
		port = s.Port
	}
	return fmt.Sprintf("forward UDP %d at the router of %s or of %s (one is enough), and give that node --node-external-ip", port, p.name, p.m.self)
}

func blocked(node string) string {
	return fmt.Sprintf("let UDP out of the network of %s: nothing of it reaches the servers", node)
}

// letIn names an address of a node that the other end should reach, and does not: one
// that the operator has named, that no router changes, or that is public. Empty: there
// is none.
func (t *tunnel) letIn(node, other intent.Peer) string {
	for _, c := range node.Candidates {
		if c.Slot != t.slot || !reaches(other, c.Addr.Addr()) {
			continue
		}
		bare := node.NATOf(c.Addr.Addr().Is4()) == intent.NATNone
		switch {
		case c.Source == intent.FromExternal:
			return fmt.Sprintf("forward UDP %d at the router of %s: nothing answers at %v, its --node-external-ip", c.Addr.Port(), node.Name, c.Addr)
		case c.Source == intent.FromInterface && (bare || !c.Addr.Addr().IsPrivate()):
			return fmt.Sprintf("let UDP %d in to %v of %s, and out of the network of %s: the address is its own, and nothing answers there", c.Addr.Port(), c.Addr.Addr(), node.Name, other.Name)
		}
	}
	return ""
}

// reaches tells whether a node has an address of the family of another.
func reaches(n intent.Peer, a netip.Addr) bool {
	if _, ok := n.UnderlayOf(a.Is4()); ok {
		return true
	}
	for _, c := range n.Candidates {
		if c.Addr.Addr().Is4() == a.Is4() {
			return true
		}
	}
	return false
}
