package overlay

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// guardIndex is the place of this room in chain inpolicy.
const guardIndex = 100

// device is the VXLAN device of a carrier over an underlay of a family.
func device(spare, is4 bool) string {
	switch {
	case spare && is4:
		return datapath.SpareLink4
	case spare:
		return datapath.SpareLink6
	case is4:
		return datapath.VXLANLink4
	}
	return datapath.VXLANLink6
}

// carriers are those of VXLAN that packets may come by: the one that the cluster
// sends by, and while it changes the one before, or the one to come. The kernel has
// no two devices of one VNI and port, and we have two names.
func carriers(c intent.Cluster) []intent.Carrier {
	var out []intent.Carrier
	for _, k := range c.VXLANs() {
		if !slices.ContainsFunc(out, func(o intent.Carrier) bool { return o.Spare == k.Spare || o.Is(k) }) {
			out = append(out, k)
		}
	}
	return out
}

// vteps finds whose each VTEP MAC is: this node's own stands, then the first
// by name. A second holder is reported and not reached through the tunnel.
func (p *plan) vteps() map[datapath.MAC]int {
	if len(p.carriers) == 0 {
		return nil
	}
	out := make(map[datapath.MAC]int, len(p.Intent.Peers))
	out[p.VTEP] = -1
	for i, peer := range p.Intent.Peers {
		if peer.Name == p.Intent.Name || peer.VTEP == (datapath.MAC{}) {
			continue
		}
		if first, ok := out[peer.VTEP]; ok {
			holder := p.Intent.Name
			if first >= 0 {
				holder = p.Intent.Peers[first].Name
			}
			p.problem(intent.PeerKey(peer.Name), "a data folder was cloned: on "+peer.Name+" stop the agent, empty its data folder and join again",
				"VTEP MAC %v of %s is also that of %s", peer.VTEP, peer.Name, holder)
			continue
		}
		out[peer.VTEP] = i
	}
	return out
}

// tunnel routes a prefix through VXLAN, or refuses it.
func (w *way) tunnel(out []datapath.Object, prefix netip.Prefix) []datapath.Object {
	mtu := w.tunnelMTU()
	switch {
	case w.peer.VTEP == (datapath.MAC{}):
		w.problem(intent.PeerKey(w.peer.Name), "on "+w.peer.Name+": systemctl status weft-agent", "node %s has reported no VTEP MAC yet", w.peer.Name)
		return w.refuse(out, prefix)
	case !w.vtep || w.tooNarrow(prefix, mtu):
		return w.refuse(out, prefix)
	}
	return append(w.neighbour(out, prefix, w.cluster.Spare), w.tunnelled(prefix, w.cluster.Spare, mtu))
}

// tunnelled is a prefix's route through VXLAN: the peer's fabric address, of the
// prefix's family, is an on-link next hop whose Ethernet address is the VTEP.
func (w *way) tunnelled(prefix netip.Prefix, spare bool, mtu int) datapath.Route {
	outer, is4 := w.path.Local.Addr.Addr().Is4(), prefix.Addr().Is4()
	via, _ := w.peer.FabricOf(is4)
	src, _ := w.self.FabricOf(is4)
	return datapath.Route{
		Dst: prefix, Via: via, Dev: device(spare, outer), OnLink: true, Src: src,
		MTU: below(mtu, w.path.Local.MTU-intent.VXLANOverhead(outer)),
	}
}

// neighbour is what such a route rests on, once for all prefixes.
func (w *way) neighbour(out []datapath.Object, prefix netip.Prefix, spare bool) []datapath.Object {
	dev := device(spare, w.path.Local.Addr.Addr().Is4())
	via, _ := w.peer.FabricOf(prefix.Addr().Is4())
	for _, o := range []datapath.Object{
		datapath.FDB{Dev: dev, MAC: w.peer.VTEP, Dst: w.path.Remote.Addr.Addr()},
		datapath.Neigh{Dev: dev, IP: via, MAC: w.peer.VTEP},
	} {
		if !w.met[o.Key()] {
			if w.met == nil {
				w.met = make(map[datapath.Key]bool, 3)
			}
			w.met[o.Key()] = true
			out = append(out, o)
		}
	}
	return out
}

// spares lists the VXLAN devices by which the pair may go: by what the cluster sends
// by first, then by what it still receives by. True is the spare ones.
func (w *way) spares() []bool {
	var out []bool
	if !w.vtep || w.peer.VTEP == (datapath.MAC{}) || !w.path.Local.Addr.IsValid() {
		return nil
	}
	for _, k := range w.cluster.VXLANs() {
		if w.carries(k, w.peer) && !slices.Contains(out, k.Spare) {
			out = append(out, k.Spare)
		}
	}
	return out
}

// tunnelMTU is the pair's MTU through VXLAN, also where the pair itself is
// direct and only this prefix is not.
func (w *way) tunnelMTU() int {
	if w.path.Transport == intent.Overlay {
		return w.path.MTU
	}
	return min(w.path.MTU, w.vxlanMTU())
}

// vxlanMTU is what the pair's uplinks carry through VXLAN.
func (w *way) vxlanMTU() int {
	return w.mtuOver(intent.VXLANOverhead(w.path.Local.Addr.Addr().Is4()))
}

// devices plans a VXLAN device for each carrier and each family of the underlay on
// which there is a peer, routed directly or not: when a pair changes its transport
// one end does so first, and the other must still understand it. The device has no
// lower device, because it would die with it.
func (p *plan) devices() {
	for _, k := range p.carriers {
		for _, is4 := range []bool{true, false} {
			p.device(k, is4)
		}
	}
}

func (p *plan) device(k intent.Carrier, is4 bool) {
	own, ok := p.self.UnderlayOf(is4)
	if !p.tunnels[family(is4)] || !ok {
		return
	}
	name, mtu := device(k.Spare, is4), own.MTU-intent.VXLANOverhead(is4)
	p.add(datapath.Link{
		Name: name, Type: datapath.LinkVXLAN, MAC: p.VTEP, MTU: mtu,
		VXLAN: datapath.VXLAN{VNI: k.VNI, Port: k.Port, Local: own.Addr.Addr(), CheckOff: p.ChecksumOff},
	})
	p.settings(name, mtu)
	p.masqueradeAs(name)
}

// masqueradeAs gives a device the fabric address: whoever else masquerades what
// leaves by it, as kube-proxy does with what the node sends to a Service, takes an
// IPv4 address of that device first (Linux, net/ipv4/devinet.c, inet_select_addr),
// and answers to any other would not come back through the tunnel. For IPv6 the
// kernel looks among the addresses of all devices.
//
// The address has a peer for the sake of releases that do not know of it. Such an
// agent, when it starts here, removes every address of the device that it does not
// want, and with its last one a device loses all IPv4 routes and neighbours (Linux,
// net/ipv4/fib_frontend.c, fib_inetaddr_event). It does not name the peer, so that
// the kernel finds no such address, and the agent takes that for done.
//
// Which peer means nothing, as long as no two of a device have the same: the second
// would be a secondary address, and go with the first (net/ipv4/devinet.c,
// __inet_insert_ifa).
func (p *plan) masqueradeAs(dev string) {
	if a, ok := p.self.FabricOf(true); ok {
		p.add(datapath.Addr{Dev: dev, Prefix: netip.PrefixFrom(a, a.BitLen()), Peer: netip.PrefixFrom(a.Next(), a.BitLen())})
	}
}

// guard drops datagrams for our VNI whose underlay source is no peer: VXLAN
// has no authentication of its own.
func (p *plan) guard() {
	if p.tunnels != [2]bool{} {
		p.add(inputChain())
	}
	for i, is4 := range []bool{true, false} {
		if !p.tunnels[family(is4)] {
			continue
		}
		typ, saddr := "ipv4_addr", datapath.SAddr4
		if !is4 {
			typ, saddr = "ipv6_addr", datapath.SAddr6
		}
		p.add(datapath.Set{Name: sourceSet(is4), Type: typ})
		for n, k := range p.carriers {
			p.add(datapath.Rule{
				Chain: datapath.ChainInput, Index: guardIndex + 2*n + i,
				Match: [6]datapath.Match{
					{Field: datapath.UDPDPort, Value: strconv.Itoa(int(k.Port))},
					{Field: datapath.VNI, Value: fmt.Sprint(k.VNI)},
					{Field: saddr, Not: true, Value: "@" + sourceSet(is4)},
				},
				Do:      [3]datapath.Action{{Verb: datapath.Counter}, {Verb: datapath.Drop}},
				Comment: "VXLAN from no peer",
			})
		}
	}
}

// PeerSets begins the names of the sets that hold peers' underlay addresses.
const PeerSets = "vtep"

// sourceSet is the set of addresses from which peers may send.
func sourceSet(is4 bool) string {
	if is4 {
		return PeerSets + "4"
	}
	return PeerSets + "6"
}

// holders finds whose each underlay address is: the first by name has it. A
// second holder is reported.
func (p *plan) holders() map[netip.Addr]string {
	out := make(map[netip.Addr]string, 2*len(p.Intent.Peers))
	if len(p.carriers) == 0 {
		return out
	}
	for _, peer := range p.Intent.Peers {
		if peer.Name == p.Intent.Name {
			continue
		}
		for _, u := range peer.Underlay {
			a := u.Addr.Addr()
			first, ok := out[a]
			switch {
			case !ok:
				out[a] = peer.Name
			case first != peer.Name:
				p.problem(intent.PeerKey(peer.Name), "weft delete node, for the one that is gone",
					"nodes %s and %s both have underlay address %v", first, peer.Name, a)
			}
		}
	}
	return out
}

// trusted tells whether packets of a peer may come in the clear, by any of the
// carriers.
func (p *plan) trusted(peer intent.Peer) bool {
	return slices.ContainsFunc(p.cluster.VXLANs(), func(k intent.Carrier) bool { return p.carries(k, peer) })
}

// carries tells whether a carrier lets a peer send in the clear. Only one whose pairs
// choose their way may not.
func (p *plan) carries(k intent.Carrier, peer intent.Peer) bool {
	if !k.Meshed() {
		return true
	}
	return p.by(k).Ways(p.self, peer).VXLAN.OK
}

// by is the cluster as if it had never known another carrier.
func (p *plan) by(k intent.Carrier) intent.Cluster {
	c := p.cluster.By(k)
	c.Receive, c.Behind = nil, nil
	return c
}

// sources is every underlay address of a peer that may send VXLAN, of the families
// that carry it: which of them it sends from is its own choice. It is never nil.
func (p *plan) sources(peer intent.Peer, holders map[netip.Addr]string) []datapath.Object {
	out := []datapath.Object{}
	if !p.trusted(peer) {
		return out
	}
	for _, u := range peer.Underlay {
		a := u.Addr.Addr()
		if !p.tunnels[family(a.Is4())] || holders[a] != peer.Name {
			continue
		}
		if e := datapath.Object(datapath.Element{Set: sourceSet(a.Is4()), Elem: a.String()}); !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func inputChain() datapath.Object {
	for _, o := range datapath.BaseChains() {
		if c, ok := o.(datapath.Chain); ok && c.Name == datapath.ChainInput {
			return c
		}
	}
	panic("overlay: no base chain " + datapath.ChainInput) // the vocabulary lost it: a bug
}
