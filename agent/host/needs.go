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
)

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
	if n.Cluster.Backend == intent.VXLAN && n.Cluster.VXLANPort != 0 {
		for _, u := range n.Underlay {
			out = append(out, n.tunnelPackets(u)...)
		}
	}
	return out
}

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
	uplink, tunnel := n.devices()
	tcp := Packet{Proto: "tcp", Port: somePort}
	var out []Packet
	add := func(what, hook, in, dev string, src, dst netip.Addr, dnat bool) {
		p := tcp
		p.What, p.Hook, p.In, p.Out, p.Src, p.Dst, p.DNAT = what, hook, in, dev, src, dst, dnat
		out = append(out, p)
	}
	add(podTraffic, "forward", somePod, tunnel, pod, other, false)
	add(podTraffic, "forward", tunnel, somePod, other, pod, false)
	if uplink != "" {
		add(podTraffic, "forward", somePod, uplink, pod, world, false)
		add(podTraffic, "forward", uplink, somePod, world, pod, true)
	}
	add(podToNode, "input", somePod, "", pod, fabric, false)
	add(nodeToPod, "output", "", somePod, fabric, pod, false)
	return out
}

func (n Node) tunnelPackets(u intent.Underlay) []Packet {
	self := u.Addr.Addr()
	peer := self.Next()
	for _, p := range n.Peers {
		if p.Is4() == self.Is4() && p != self {
			peer = p
			break
		}
	}
	p := Packet{Proto: "udp", Port: n.Cluster.VXLANPort}
	in, out := p, p
	in.What, in.Hook, in.In, in.Src, in.Dst = peerTunnels, "input", u.Device, peer, self
	out.What, out.Hook, out.Out, out.Src, out.Dst = nodeToPeer, "output", u.Device, self, peer
	return []Packet{in, out}
}

// devices are by which the world and peers' pods are reached.
func (n Node) devices() (uplink, tunnel string) {
	if len(n.Underlay) == 0 {
		return "", datapath.VXLANLink4
	}
	uplink = n.Underlay[0].Device
	switch {
	case n.Cluster.Backend != intent.VXLAN:
		return uplink, uplink
	case n.Underlay[0].Addr.Addr().Is6():
		return uplink, datapath.VXLANLink6
	}
	return uplink, datapath.VXLANLink4
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
