package main

import (
	"slices"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// sendings are how a node sends to each peer that chooses its way: as it said, as long as
// the pair may, else as the pair begins.
func sendings(n intent.Node, said []*weftv1.NodeSending) map[string]mesh.Choice {
	self, ok := n.Self()
	if !ok || !n.Cluster.Meshed() {
		return nil
	}
	out := map[string]mesh.Choice{}
	for _, p := range n.Peers {
		if p.Name == n.Name {
			continue
		}
		c := beginning(n.Cluster, self, p)
		i := slices.IndexFunc(said, func(s *weftv1.NodeSending) bool { return s.GetPeer() == p.Name })
		if i >= 0 {
			c = going(c, n.Cluster.Ways(self, p), said[i])
		}
		out[p.Name] = c
	}
	return out
}

// beginning is how a node sends to a peer before anything is proved: by what surely is
// there. Which of the peer's addresses answers is for the agents to find out.
func beginning(c intent.Cluster, self, p intent.Peer) mesh.Choice {
	var out mesh.Choice
	for slot := range uint8(intent.Slots) {
		_, here := self.SlotOf(slot)
		_, there := p.SlotOf(slot)
		out.Peers[slot].There = here && there
	}
	out.Spare = c.Toward(self.Name, p.Name).Spare
	switch w := c.Ways(self, p); {
	case w.VXLAN.OK:
		out.Rung = mesh.VXLAN
	case w.WireGuard.OK:
		out.Rung = mesh.WireGuard
		if !out.Peers[0].There {
			out.Slot = 1
		}
	}
	return out
}

// going is a choice that stays what the node said of it, if the pair may.
func going(c mesh.Choice, may intent.Ways, s *weftv1.NodeSending) mesh.Choice {
	slot := uint8(min(s.GetSlot(), intent.Slots-1))
	for rung := mesh.Direct; rung <= mesh.ByServer; rung++ {
		stays := may.WireGuard.OK && c.Peers[slot].There
		switch rung {
		case mesh.Direct:
			stays = may.Direct.OK
		case mesh.VXLAN:
			stays = may.VXLAN.OK
		}
		if rung.String() != s.GetRung() || !stays {
			continue
		}
		c.Rung, c.Slot, c.MTU = rung, 0, int(s.GetMtu())
		if rung.Sealed() {
			c.Slot = slot
		}
		return c
	}
	return c
}
