package agent

import (
	"net/netip"

	hostroom "github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/proto/intent"
)

// needs is what the pairs need of this host; zero while none chooses. The keys are known
// before any room of the pairs lives: what was opened for them stays open meanwhile.
func (p *pairs) needs(n intent.Node, self intent.Peer) hostroom.Mesh {
	if !n.Cluster.Meshed() {
		return hostroom.Mesh{}
	}
	out := hostroom.Mesh{Slots: p.ring.Slots(), Relay: self.Relaying()}
	for _, other := range n.Peers {
		if other.Name == n.Name {
			continue
		}
		out.Relays = out.Relays || other.Relaying()
		out.Clear = out.Clear || n.Cluster.Ways(self, other).VXLAN.OK
	}
	if at, ok := p.offered(); ok {
		for _, port := range at.Ports {
			for _, a := range at.Addrs {
				out.Echo = append(out.Echo, netip.AddrPortFrom(a, port))
			}
		}
	}
	return out
}

// mayNeed are the WireGuard devices of a node that has not joined: whether its cluster
// has pairs that choose is not known yet.
func mayNeed() hostroom.Mesh {
	return hostroom.Mesh{Slots: []intent.Slot{{Slot: 0, Port: wireguardPort}, {Slot: 1, Port: wireguardPort + 1}}}
}
