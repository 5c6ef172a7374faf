package overlay

import (
	"net/netip"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// Adopted tells by which devices the kernel sends to each peer, of what an earlier run
// of the agent left there: the routes of the choice, which have no metric.
func Adopted(n intent.Node, have datapath.State) map[string]mesh.Over {
	out := map[string]mesh.Over{}
	for _, p := range n.Peers {
		for _, l := range p.Lease {
			if over, ok := sends(l, have); ok && p.Name != n.Name {
				out[p.Name] = over
				break
			}
		}
	}
	return out
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
