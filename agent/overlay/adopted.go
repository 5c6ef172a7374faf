package overlay

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// Keys are the node's own.
type Keys struct {
	Slots     []intent.Slot
	Preshared func(id [32]byte) bool // there is one that the id stands for
}

// Adopted tells by which devices the kernel sends to each peer, of what an earlier run
// of the agent left there: the routes of the choice, which have no metric. Where pairs
// need pre-shared keys, a tunnel is what it was only with the same keys: else who has
// lost them would go on without.
func Adopted(n intent.Node, keys Keys, have datapath.State) map[string]mesh.Over {
	out := map[string]mesh.Over{}
	for _, p := range n.Peers {
		for _, l := range p.Lease {
			if over, ok := sends(l, have); ok && p.Name != n.Name {
				if !n.Cluster.PostQuantum || over.Rung != mesh.WireGuard || keys.of(p, over.Slot, have) {
					out[p.Name] = over
				}
				break
			}
		}
	}
	return out
}

// of tells whether the tunnel that the kernel has is between the keys that both ends
// have now, with a pre-shared key that is known or with none.
func (k Keys) of(p intent.Peer, slot uint8, have datapath.State) bool {
	dev := datapath.WGLink(slot)
	link, _ := have[datapath.Link{Name: dev}.Key()].(datapath.Link)
	theirs, ok := p.SlotOf(slot)
	peer, held := have[datapath.WGPeer{Dev: dev, Peer: theirs.Key}.Key()].(datapath.WGPeer)
	own := slices.ContainsFunc(k.Slots, func(s intent.Slot) bool { return s.Slot == slot && s.Key == link.WG.Key })
	return ok && held && own && (peer.PSK == [32]byte{} || k.Preshared(peer.PSK))
}

// sends tells by which devices packets of a prefix go.
func sends(prefix netip.Prefix, have datapath.State) (mesh.Over, bool) {
	r, ok := have[datapath.Route{Dst: prefix}.Key()].(datapath.Route)
	if !ok || r.Type != datapath.RouteNormal || datapath.IsPodLink(r.Dev) {
		return mesh.Over{}, false
	}
	switch r.Dev {
	case datapath.WGLink0:
		return mesh.Over{Rung: mesh.WireGuard}, true
	case datapath.WGLink1:
		return mesh.Over{Rung: mesh.WireGuard, Slot: 1}, true
	case datapath.VXLANLink4, datapath.VXLANLink6:
		return mesh.Over{Rung: mesh.VXLAN}, true
	case datapath.SpareLink4, datapath.SpareLink6:
		return mesh.Over{Rung: mesh.VXLAN, Spare: true}, true
	}
	// Another device of ours is none of these rungs.
	return mesh.Over{Rung: mesh.Direct}, !strings.HasPrefix(r.Dev, "weft")
}
