package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// How long two nodes must clash before one goes to other ports: the servers' echo is asked
// each 25 s, and what it has answered stands for 90 s, so that a router that was started
// anew may seem to take one node for the other.
const (
	refusedFor  = 30 * time.Second
	mistakenFor = 2 * time.Minute
)

// clashing is a clash as the node has seen it since. The zero value is of none.
type clashing struct {
	with  mesh.Clash
	since time.Time
}

// see takes what is known now, and tells whether the node is to go elsewhere: the one with
// the later name does.
func (c *clashing) see(self string, now mesh.Clash, ok bool, at time.Time) bool {
	if !ok || now.With > self {
		*c = clashing{}
		return false
	}
	if c.since.IsZero() || c.with != now {
		*c = clashing{now, at}
	}
	stands := mistakenFor
	if now.Refused {
		stands = refusedFor
	}
	return at.Sub(c.since) >= stands
}

// avoid has the node use other ports than the cluster's where a router does not keep it
// apart from another, and tells whether that is new. Keys follow as for another
// wireguardPort.
func (p *pairs) avoid(now time.Time) (bool, error) {
	n, _ := p.intent()
	if len(p.ring.Slots()) != 1 || !calm(n) {
		return false, nil // ports are about to be others anyway
	}
	c, ok := mesh.ClashOf(n.Peers, n.Name)
	if !p.clash.see(n.Name, c, ok, now) {
		return false, nil
	}
	base := cmp.Or(n.Cluster.WireGuardPort, wireguardPort)
	shift := mesh.ShiftOf(n.Name, base, func(port uint16) bool { return !used(n, c.Router, port) })
	if shift == 0 || shift == p.ring.Shift() {
		return false, nil
	}
	p.log.Info("WireGuard port left", note.Why, c.Of(n.Name), note.Addr, intent.WireGuardPort(base, shift, 0))
	p.clash = clashing{}
	return true, p.ring.SetShift(shift)
}

// calm tells whether no node changes its keys.
func calm(n intent.Node) bool {
	return !slices.ContainsFunc(n.Peers, func(p intent.Peer) bool { return len(p.Slots) > 1 })
}

// used tells whether a port is VXLAN's, or that of a node behind a router.
func used(n intent.Node, router netip.Addr, port uint16) bool {
	return slices.ContainsFunc(n.Cluster.VXLANs(), func(k intent.Carrier) bool { return k.Port == port }) ||
		slices.ContainsFunc(n.Peers, func(p intent.Peer) bool {
			behind := slices.ContainsFunc(p.Candidates, func(c intent.Candidate) bool { return c.Addr.Addr() == router })
			return behind && slices.ContainsFunc(p.Slots, func(s intent.Slot) bool { return s.Port == port })
		})
}

// clashed is what is to be done about the clash of a node, in words; empty: there is none.
func clashed(n intent.Node, node string) string {
	c, ok := mesh.ClashOf(n.Peers, node)
	if !ok {
		return ""
	}
	return fmt.Sprintf("nothing: %s, so that %s goes to another port by itself", c.Of(node), max(node, c.With))
}

// shifted says that the node's ports are not the cluster's; empty: they are.
func (p *pairs) shifted() string {
	shift := p.ring.Shift()
	if shift == 0 {
		return ""
	}
	n, _ := p.intent()
	base := cmp.Or(n.Cluster.WireGuardPort, wireguardPort)
	return fmt.Sprintf("UDP %d and %d, not %d and %d: its router does not keep these apart from another node's",
		intent.WireGuardPort(base, shift, 0), intent.WireGuardPort(base, shift, 1), base, base+1)
}
