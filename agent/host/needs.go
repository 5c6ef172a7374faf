package host

import (
	"net/netip"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// Words for what is dropped.
const (
	podTraffic  = "forwarded pod traffic"
	peerTunnels = "the fabric's VXLAN from peers"
	podToNode   = "what pods send to this node"
	nodeToPeer  = "the fabric's VXLAN to peers"
	nodeToPod   = "what this node sends to pods"

	sealedFrom = "WireGuard from peers"
	sealedTo   = "WireGuard to peers"
	askedEcho  = "questions to the servers' echo"
	askingEcho = "nodes' questions to the echo of the server here"
	insideFrom = "what peers send to this node through WireGuard"
	insideTo   = "what this node sends to peers through WireGuard"
)

// severity is that of a flow that is dropped. Without some of them pairs still meet, by
// a worse way; and before a node has joined it is not known whether any is needed that
// only pairs need that choose their way.
func (n Node) severity(what string) Severity {
	worse := false
	switch what {
	case peerTunnels, nodeToPeer:
		worse = n.Cluster.Backend != intent.VXLAN && n.Cluster.Encryption != intent.EncryptNever
	case sealedFrom, sealedTo, askedEcho, askingEcho, insideFrom, insideTo:
		if !n.Cluster.Meshed() {
			return Note
		}
		worse = what != insideFrom && what != insideTo
	}
	if worse {
		return Warning
	}
	return Fault
}

// somePod stands for the device of any pod.
const somePod = datapath.PodPrefix + "00000000000"

// somePort is one that no firewall opens on its own.
const somePort = 39871

// Needs are the flows that must pass on this node.
func Needs(n Node) []Packet {
	var out []Packet
	for _, l := range n.Lease {
		out = append(out, n.podPackets(l)...)
	}
	if n.clear() && n.Cluster.VXLANPort != 0 {
		for _, u := range n.Underlay {
			out = append(out, n.tunnelPackets(u, n.Cluster.VXLANPort, peerTunnels, nodeToPeer)...)
		}
	}
	return append(out, n.meshPackets()...)
}

// clear tells whether packets may come through VXLAN.
func (n Node) clear() bool { return n.Cluster.Backend == intent.VXLAN || n.Mesh.Clear }

// podPackets are pod to pod over the fabric, both ways, pod to world, world to a
// hostPort, and between pods and their node.
func (n Node) podPackets(lease netip.Prefix) []Packet {
	pod, fabric := lease.Addr().Next(), lease.Addr()
	is4 := pod.Is4()
	other := pod
	for _, c := range n.Cluster.CIDRs {
		if c.Addr().Is4() == is4 && !lease.Contains(last(c)) {
			other = last(c) // of somebody else's lease, or of nobody's
		}
	}
	world := netip.MustParseAddr("198.51.100.77")
	if !is4 {
		world = netip.MustParseAddr("2001:db8:ffff::77")
	}
	uplink := n.uplink()
	tcp := Packet{Proto: "tcp", Port: somePort}
	var out []Packet
	add := func(what, hook, in, dev string, src, dst netip.Addr, dnat bool) {
		p := tcp
		p.What, p.Hook, p.In, p.Out, p.Src, p.Dst, p.DNAT = what, hook, in, dev, src, dst, dnat
		out = append(out, p)
	}
	for _, tunnel := range n.tunnels() {
		add(podTraffic, "forward", somePod, tunnel, pod, other, false)
		add(podTraffic, "forward", tunnel, somePod, other, pod, false)
	}
	if uplink != "" {
		add(podTraffic, "forward", somePod, uplink, pod, world, false)
		add(podTraffic, "forward", uplink, somePod, world, pod, true)
	}
	add(podToNode, "input", somePod, "", pod, fabric, false)
	add(nodeToPod, "output", "", somePod, fabric, pod, false)
	return out
}

// tunnelPackets come from a peer and go to one, by an uplink and to one UDP port.
func (n Node) tunnelPackets(u intent.Underlay, port uint16, from, to string) []Packet {
	self, peer := u.Addr.Addr(), n.peer(u)
	p := Packet{Proto: "udp", Port: port}
	in, out := p, p
	in.What, in.Hook, in.In, in.Src, in.Dst = from, "input", u.Device, peer, self
	out.What, out.Hook, out.Out, out.Src, out.Dst = to, "output", u.Device, self, peer
	return []Packet{in, out}
}

// peer is the address of somebody beyond an uplink.
func (n Node) peer(u intent.Underlay) netip.Addr {
	self := u.Addr.Addr()
	for _, p := range n.Peers {
		if p.Is4() == self.Is4() && p != self {
			return p
		}
	}
	return self.Next()
}

// uplink is by which the world is reached; empty: not known.
func (n Node) uplink() string {
	if len(n.Underlay) == 0 {
		return ""
	}
	return n.Underlay[0].Device
}

// tunnels are by which peers' pods are reached.
func (n Node) tunnels() []string {
	var out []string
	if n.Cluster.Meshed() {
		for _, s := range n.Mesh.Slots {
			out = append(out, datapath.WGLink(s.Slot))
		}
	}
	vxlan := datapath.VXLANLink4
	if len(n.Underlay) > 0 && n.Underlay[0].Addr.Addr().Is6() {
		vxlan = datapath.VXLANLink6
	}
	switch {
	case len(n.Underlay) == 0, n.Cluster.Backend == intent.VXLAN:
		return append(out, vxlan)
	case n.Mesh.Clear:
		return append(out, vxlan, n.uplink())
	case !n.Cluster.Meshed():
		return append(out, n.uplink())
	}
	return out
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
