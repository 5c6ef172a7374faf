package overlay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// sealedDevices plans the node's WireGuard devices, whether there are peers or not:
// their ports are what the node's candidates are asked about.
func (p *plan) sealedDevices() {
	for _, s := range p.slots {
		name := datapath.WGLink(s.Slot)
		p.add(datapath.Link{Name: name, Type: datapath.LinkWG, MTU: widest(p.Underlay), WG: datapath.WG{Key: s.Key, Port: s.Port}})
		p.settings(name, p.sealedMTU)
		p.masqueradeAs(name)
	}
}

// widest is the MTU of the WireGuard devices: what fits through the widest uplink
// over either family, because the routes carry what a pair can do. Devices that are
// processes pad packets to 16 bytes up to this MTU, whatever a route says, so that a
// larger one would have packets over IPv6 cut in two. It is 0, any, while the node has
// no underlay address: a node that roams keeps its tunnels.
func widest(us []intent.Underlay) int {
	mtu := 0
	for _, u := range us {
		mtu = max(mtu, u.MTU-intent.WireGuardOverhead(false))
	}
	return mtu
}

// keys finds whose each WireGuard key is: this node's own stand, then the first by
// name. A second holder is reported and not reached by it.
func (p *plan) keys() map[intent.Key]int {
	if len(p.slots) == 0 {
		return nil
	}
	out := make(map[intent.Key]int, len(p.Intent.Peers)+len(p.slots))
	for _, s := range p.slots {
		out[s.Key] = -1
	}
	for i, peer := range p.Intent.Peers {
		if peer.Name == p.Intent.Name {
			continue
		}
		for _, s := range peer.Slots {
			first, ok := out[s.Key]
			if !ok {
				out[s.Key] = i
				continue
			}
			holder := p.Intent.Name
			if first >= 0 {
				holder = p.Intent.Peers[first].Name
			}
			p.problem(intent.PeerKey(peer.Name), "weft rotate keys "+peer.Name+"; if its data folder was cloned: stop its agent, empty the folder and join again",
				"WireGuard key %v of %s is also that of %s", s.Key, peer.Name, holder)
		}
	}
	return out
}

// slotOf returns the node's own device of a slot.
func (p *plan) slotOf(slot uint8) (intent.Slot, bool) {
	for _, s := range p.slots {
		if s.Slot == slot {
			return s, true
		}
	}
	return intent.Slot{}, false
}

// seal opens the WireGuard devices to the peer, whichever way the pair sends: either
// end may move first. It tells by which slots the peer may be sent to.
func (w *way) seal(out []datapath.Object, prefixes []netip.Prefix) []datapath.Object {
	if len(prefixes) == 0 {
		return out
	}
	for slot, peer := range w.choice.Peers {
		_, ok := w.slotOf(uint8(slot))
		theirs, has := w.peer.SlotOf(uint8(slot))
		if !peer.There || !ok || !has || !w.keys[slot] {
			continue
		}
		w.open[slot] = true
		dev := datapath.WGLink(uint8(slot))
		out = append(out, datapath.WGPeer{
			Dev: dev, Peer: theirs.Key, Endpoint: peer.Endpoint, Allowed: datapath.AllowedText(w.allowed(peer, prefixes)),
			Keepalive: int(peer.Keepalive / time.Second), PSK: peer.PSK,
		})
		mtu := w.mtuOver(w.sealing())
		for _, prefix := range prefixes {
			if !narrow(prefix, w.chosenMTU(mtu)) { // else what is refused would go by it
				out = append(out, w.through(prefix, uint8(slot), mtu, sealedMetric+uint32(slot)))
			}
		}
	}
	return out
}

// allowed are the prefixes that a peer sends from and is sent to.
func (w *way) allowed(peer mesh.Peer, prefixes []netip.Prefix) []netip.Prefix {
	if !peer.Fabric {
		return prefixes
	}
	var out []netip.Prefix
	for _, a := range w.peer.Fabric() {
		if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// through is a route into a WireGuard device. The peer is found by what it is
// allowed, so the route needs no next hop.
func (w *way) through(prefix netip.Prefix, slot uint8, mtu int, metric uint32) datapath.Route {
	src, _ := w.self.FabricOf(prefix.Addr().Is4())
	return datapath.Route{
		Dst: prefix, Dev: datapath.WGLink(slot), Src: src, MTU: below(mtu, w.sealedMTU), Metric: metric,
	}
}

// sealing is WireGuard's cost on the pair's underlay: that of IPv6 where the pair has
// no family in common, and only a relay leads to the peer.
func (w *way) sealing() int {
	if w.path.Local.Addr.IsValid() {
		return intent.WireGuardOverhead(w.path.Local.Addr.Addr().Is4())
	}
	return intent.WireGuardOverhead(false)
}

// anyMTU is that of the WireGuard devices while the node knows no uplink: more than
// any path has.
const anyMTU = 1 << 16

// mtuOver is what the pair's two uplinks carry of packets that cost so many bytes
// more, and at most what the cluster allows. Without uplinks it is the device's.
func (w *way) mtuOver(overhead int) int {
	mtu := w.sealedMTU
	switch {
	case w.path.Local.Addr.IsValid():
		mtu = min(w.path.Local.MTU, w.path.Remote.MTU) - overhead
	case len(w.Underlay) > 0 && len(w.peer.Underlay) > 0:
		mtu = min(w.Underlay[0].MTU, w.peer.Underlay[0].MTU) - overhead
	}
	if w.cluster.MTU > 0 {
		mtu = min(mtu, w.cluster.MTU)
	}
	return mtu
}

// narrow tells whether a path is too narrow for a prefix's family.
func narrow(prefix netip.Prefix, mtu int) bool {
	if prefix.Addr().Is4() {
		return mtu < minMTU4
	}
	return mtu < intent.MinMTU6
}
