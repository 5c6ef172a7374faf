package kerneltest

import (
	"fmt"
	"net/netip"

	"pgregory.net/rapid"

	"github.com/weft-net/weft/agent/datapath"
)

// State draws a state that a planner could want: everything rests on something
// that is there. Routes use device eth0 beside ours. The space is small, so that
// two states share much.
func State(t *rapid.T, label string) datapath.State {
	s := datapath.State{}
	put := func(o datapath.Object) { s[o.Key()] = o }
	pick := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label+what) }
	maybe := func(what string) bool { return pick(what, 3) > 0 }

	put(datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1400 + 50*pick("mtu", 2)})
	fabric := netip.AddrFrom4([4]byte{10, 42, byte(pick("lease", 2)), 0})
	fabric6 := netip.MustParseAddr(fmt.Sprintf("fd42:0:0:%d::", pick("lease6", 2)))
	put(datapath.Addr{Dev: datapath.FabricLink, Prefix: netip.PrefixFrom(fabric, 32)})
	put(datapath.Addr{Dev: datapath.FabricLink, Prefix: netip.PrefixFrom(fabric6, 128)})
	put(datapath.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"})
	vxlan := maybe("vxlan")
	if vxlan {
		put(datapath.Link{Name: datapath.VXLANLink4, Type: datapath.LinkVXLAN, MTU: 1400 + 10*pick("vxmtu", 2), MAC: datapath.MAC{2, 0x57, 0, 0, 0, byte(pick("vxmac", 2))}, VXLAN: datapath.VXLAN{
			VNI: 4096 + uint32(pick("vni", 2)), Port: 8472, Local: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + pick("local", 2))}), CheckOff: maybe("csum"),
		}})
		put(datapath.Sysctl{Path: "net/ipv4/conf/weft-vx/rp_filter", Value: "2"})
	}
	for i := range 4 {
		if !maybe(fmt.Sprint("peer", i)) {
			continue
		}
		n := fmt.Sprint(i)
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, byte(10 + i), 0}), 24)
		dst6 := netip.MustParsePrefix(fmt.Sprintf("fd42:0:0:%d::/64", 10+i))
		via := netip.AddrFrom4([4]byte{10, 42, byte(10 + pick("via"+n, 4)), 0})
		switch {
		case vxlan && maybe("tunnel"+n):
			mac := datapath.MAC{2, 0x57, 0, 0, 1, byte(pick("mac"+n, 4))}
			put(datapath.FDB{Dev: datapath.VXLANLink4, MAC: mac, Dst: netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + pick("dst"+n, 3))})})
			put(datapath.Neigh{Dev: datapath.VXLANLink4, IP: via, MAC: mac})
			put(datapath.Route{Dst: dst, Via: via, Dev: datapath.VXLANLink4, OnLink: true, Src: fabric, MTU: 1300 * pick("pmtu"+n, 2)})
			put(datapath.Route{Dst: dst6, Via: dst6.Addr(), Dev: datapath.VXLANLink4, OnLink: true, Src: fabric6})
		case maybe("direct" + n):
			put(datapath.Route{Dst: dst, Via: netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), Dev: "eth0", OnLink: true, Src: fabric})
			put(datapath.Route{Dst: dst6, Via: netip.MustParseAddr(fmt.Sprintf("fd00::%d", 10+i)), Dev: "eth0", OnLink: true, Src: fabric6})
		default:
			put(datapath.Route{Dst: dst, Type: datapath.Blackhole})
			put(datapath.Route{Dst: dst6, Type: datapath.Blackhole, Metric: uint32(1024 * pick("metric"+n, 2))})
		}
	}
	anyWireGuard(t, label, put)
	anyFirewall(t, label, put)
	return s
}

// anyWireGuard draws devices and peers with keys of the first seeds. Prefixes move
// from peer to peer, but none has two.
func anyWireGuard(t *rapid.T, label string, put func(datapath.Object)) {
	pick := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label+what) }
	for slot := range uint8(2) {
		n := fmt.Sprint(slot)
		if pick("slot"+n, 2) == 0 {
			continue
		}
		dev := datapath.WGLink(slot)
		put(datapath.Link{Name: dev, Type: datapath.LinkWG, MTU: 1400 + 20*pick("wgmtu"+n, 2), WG: datapath.WG{
			Key: Key(slot + 2*byte(pick("wgkey"+n, 2))), Port: 51820 + uint16(slot) + 10*uint16(pick("wgport"+n, 2)), Mark: uint32(pick("wgmark"+n, 2)),
		}})
		const peers = 4
		var allowed [peers][]netip.Prefix
		for i := range byte(6) {
			to := pick(fmt.Sprint("allowed", n, i), peers+1)
			if to < peers {
				allowed[to] = append(allowed[to], netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, 10 + i, 0}), 24), netip.MustParsePrefix(fmt.Sprintf("fd42:0:0:%d::/64", 10+i)))
			}
		}
		for i := range byte(peers) {
			m := fmt.Sprint(n, ".", i)
			p := datapath.WGPeer{Dev: dev, Peer: Key(10 + i), Allowed: datapath.AllowedText(allowed[i]), Keepalive: 25 * pick("keepalive"+m, 2)}
			switch pick("wgpeer"+m, 4) {
			case 0:
				continue
			case 1:
				p.Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 10 + i}), 51820+uint16(pick("endpoint"+m, 2)))
			case 2:
				p.Endpoint = netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", 10+i)), 51820)
			}
			if pick("psk"+m, 2) == 0 {
				p.PSK = PSK(byte(pick("which"+m, 2)))
			}
			put(p)
		}
	}
}

func anyFirewall(t *rapid.T, label string, put func(datapath.Object)) {
	pick := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label+what) }
	if pick("firewall", 6) == 0 {
		return
	}
	types := []string{"ipv4_addr", "ipv4_addr . inet_service"}
	elems := [][]string{{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, {"10.0.0.1 . 80", "10.0.0.2 . 81", "10.0.0.3 . 82"}}
	typ := pick("settype", 2)
	put(datapath.Set{Name: "s", Type: types[typ]})
	for i, e := range elems[typ] {
		if pick(fmt.Sprint("elem", i), 2) == 0 {
			put(datapath.Element{Set: "s", Elem: e})
		}
	}
	put(datapath.Chain{Name: "target"})
	put(datapath.Chain{Name: datapath.ChainForward, Type: "filter", Hook: "forward", Priority: -10 - pick("priority", 2)})
	verdicts := []string{"accept", "drop", "jump target"}
	if pick("map", 3) > 0 {
		put(datapath.Set{Name: "m", Type: "inet_service", Data: "verdict", Interval: pick("interval", 2) == 0})
		for i := range 3 {
			put(datapath.Element{Set: "m", Elem: fmt.Sprint(80 + i), Data: verdicts[pick(fmt.Sprint("verdict", i), 3)]})
		}
	}
	for i := range 5 {
		r := datapath.Rule{Chain: datapath.ChainForward, Index: 10 * i}
		switch pick(fmt.Sprint("rule", i), 5) {
		case 0:
			r.Do = [3]datapath.Action{{Verb: datapath.Jump, Arg: "target"}}
		case 1:
			if typ == 1 {
				continue
			}
			r.Match[0] = datapath.Match{Field: datapath.SAddr4, Value: "@s"}
			r.Do = [3]datapath.Action{{Verb: datapath.Drop}}
		case 2:
			r.Match[0] = datapath.Match{Field: datapath.L4Proto, Value: "tcp"}
			r.Do = [3]datapath.Action{{Verb: datapath.Counter}, {Verb: datapath.Accept}}
		case 3:
			r.Chain = "target"
			r.Match[0] = datapath.Match{Field: datapath.DAddr4, Value: "10.0.0.0/8"}
			r.Do = [3]datapath.Action{{Verb: datapath.Return}}
			r.Comment = "a comment"
		default:
			continue
		}
		put(r)
	}
}
