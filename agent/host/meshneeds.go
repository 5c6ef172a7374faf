package host

import (
	"net/netip"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/preshared"
	"github.com/weft-net/weft/proto/relay"
)

// meshPackets are those of pairs that choose their way: WireGuard between the nodes,
// questions to the servers' echo, and what the agents ask each other inside of the
// tunnels.
func (n Node) meshPackets() []Packet {
	var out []Packet
	for _, u := range n.Underlay {
		for _, s := range n.Mesh.Slots {
			out = append(out, n.tunnelPackets(u, s.Port, sealedFrom, sealedTo)...)
		}
	}
	for _, at := range n.Mesh.Echo {
		if p, ok := n.echoPacket(at); ok {
			out = append(out, p)
		}
	}
	for _, s := range n.Mesh.Slots {
		out = append(out, n.insidePackets(datapath.WGLink(s.Slot))...)
	}
	return out
}

// echoPacket asks a server's echo; that of a server on this very host is asked by
// others.
func (n Node) echoPacket(at netip.AddrPort) (Packet, bool) {
	p := Packet{What: askedEcho, Hook: "output", Proto: "udp", Port: at.Port(), Dst: at.Addr()}
	found := false
	for _, u := range n.Underlay {
		self := u.Addr.Addr()
		switch {
		case self == at.Addr():
			p.What, p.Hook, p.In, p.Out, p.Src = askingEcho, "input", u.Device, "", n.peer(u)
			return p, true
		case self.Is4() == at.Addr().Is4() && !found:
			p.Out, p.Src, found = u.Device, self, true
		}
	}
	return p, found
}

// ICMP's echo requests (RFC 792, RFC 4443).
const (
	echoRequest4 = 8
	echoRequest6 = 128
)

// insidePackets are between fabric addresses, through a tunnel: probes, which are echo
// requests in the first family that both ends have, what is relayed over nodes, and what
// agents say to agree on pre-shared keys.
func (n Node) insidePackets(dev string) []Packet {
	if len(n.Lease) == 0 {
		return nil
	}
	self := n.Lease[0].Addr()
	peer := self.Prev() // the last of somebody's lease before, or of nobody's
	for _, c := range n.Cluster.CIDRs {
		if c.Contains(self) && !n.Lease[0].Contains(last(c)) {
			peer = last(c)
		}
	}
	probe := Packet{Proto: "icmp", Type: echoRequest4}
	if self.Is6() {
		probe = Packet{Proto: "ipv6-icmp", Type: echoRequest6}
	}
	relayed, agreed := Packet{Proto: "udp", Port: relay.Port}, Packet{Proto: "udp", Port: preshared.Port}
	from := func(p Packet) Packet {
		p.What, p.Hook, p.In, p.Src, p.Dst = insideFrom, "input", dev, peer, self
		return p
	}
	to := func(p Packet) Packet {
		p.What, p.Hook, p.Out, p.Src, p.Dst = insideTo, "output", dev, self, peer
		return p
	}
	out := []Packet{from(probe), to(probe)}
	if n.Mesh.Relay {
		out = append(out, from(relayed))
	}
	if n.Mesh.Relays {
		out = append(out, to(relayed))
	}
	if n.Cluster.PostQuantum {
		out = append(out, from(agreed), to(agreed))
	}
	return out
}
