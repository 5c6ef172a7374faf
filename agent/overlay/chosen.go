package overlay

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// Metrics of the standby routes, by which probes bound to a device go while
// packets go by the way that is chosen. The kernel goes on to the next route of a
// prefix if one's device is not the socket's (Linux, net/ipv4/fib_trie.c,
// fib_table_lookup; net/ipv6/route.c, find_rr_leaf).
const (
	directMetric = 8701
	vxlanMetric  = 8702
	spareMetric  = 8703
	sealedMetric = 8710 // and the slot
)

// deadMetric is before all that stand by.
const deadMetric = 8700

// chosen plans the way to a peer that chooses its way: the route of the choice,
// those that stand by, and a refusal behind them all. The last is for the moment in
// which a device is gone and took its routes along: nothing may then leave by the
// default route, in the clear.
//
// Where the pair may send by none, packets would take what stands by: see dead.
//
// Without a choice yet there is no route of it either; the caller keeps what the
// kernel has.
func (w *way) chosen(out []datapath.Object, prefixes []netip.Prefix) []datapath.Object {
	w.may = w.cluster.Ways(w.self, w.peer)
	for _, prefix := range prefixes {
		refusal := len(out)
		out = w.standby(w.refuse(out, prefix), prefix)
		none := len(out)
		if out = w.first(out, prefix); w.has && len(out) == none {
			out[refusal] = w.dead(prefix)
		}
	}
	if w.has && w.choice.Rung == mesh.None && len(prefixes) > 0 && !w.told() {
		w.problem(intent.PeerKey(w.peer.Name), "weft mesh explain "+w.Intent.Name+" "+w.peer.Name,
			"no path to %s: %s", w.peer.Name, w.unreached())
	}
	return out
}

// dead refuses packets before they find a route that stands by, which is for who is
// bound to its device alone. Of IPv4 it leads to a bridge without ports: where there is
// no route back, the filter of reverse paths drops what comes, and a refusal is none
// (Linux, net/ipv4/fib_frontend.c, __fib_validate_source).
func (w *way) dead(prefix netip.Prefix) datapath.Route {
	if !prefix.Addr().Is4() {
		return datapath.Route{Dst: prefix, Type: datapath.Blackhole, Metric: deadMetric}
	}
	src, _ := w.self.FabricOf(true)
	return datapath.Route{Dst: prefix, Dev: datapath.FabricLink, Src: src, Metric: deadMetric}
}

// told tells whether what keeps the pair apart is a problem of one of the two nodes
// already: one cause is one problem, at the node that it is of.
func (w *way) told() bool {
	if w.may.Direct.OK || w.may.VXLAN.OK || w.may.WireGuard.OK {
		return false
	}
	return w.self.NoDevices || w.peer.NoDevices || w.peer.NoMesh
}

// unreached says why no way leads to the peer.
func (w *way) unreached() string {
	switch {
	case w.may.WireGuard.OK && w.cluster.PostQuantum && !w.peer.Preshared:
		return w.peer.Name + "'s agent is of a release without pre-shared keys"
	case slices.ContainsFunc(w.choice.Peers[:], func(p mesh.Peer) bool { return p.Fabric }):
		return "the two agree on a pre-shared key first"
	case w.may.WireGuard.OK || w.may.VXLAN.OK || w.may.Direct.OK:
		return "none that the two may use works"
	case w.may.WireGuard.Why != w.may.VXLAN.Why:
		return w.may.WireGuard.Why + "; in the clear: " + w.may.VXLAN.Why
	}
	return w.may.WireGuard.Why
}

// standby plans the routes in the clear that the pair may come to choose. Where it
// may not, no packet of the pair has a way to leave so.
func (w *way) standby(out []datapath.Object, prefix netip.Prefix) []datapath.Object {
	if w.may.Direct.OK {
		if r, ok := w.onLink(prefix); ok && !narrow(prefix, w.mtuOver(0)) {
			r.Metric = directMetric
			out = append(out, r)
		}
	}
	if !w.may.VXLAN.OK || narrow(prefix, w.vxlanMTU()) {
		return out
	}
	for _, spare := range w.spares() {
		r := w.tunnelled(prefix, spare, w.vxlanMTU())
		if r.Metric = vxlanMetric; spare {
			r.Metric = spareMetric
		}
		out = append(w.neighbour(out, prefix, spare), r)
	}
	return out
}

// first plans the route of the choice. A prefix that cannot go by it, because the
// link has no address of its family, goes by the next rung.
func (w *way) first(out []datapath.Object, prefix netip.Prefix) []datapath.Object {
	rung := w.choice.Rung
	if !w.has || rung == mesh.None {
		return out
	}
	if rung == mesh.Direct {
		if r, ok := w.onLink(prefix); ok && w.mayStay() {
			return w.wide(out, prefix, r, w.mtuOver(0))
		}
		rung = mesh.VXLAN
	}
	if spares := w.spares(); rung == mesh.VXLAN && len(spares) > 0 {
		spare := w.choice.Spare
		if !slices.Contains(spares, spare) {
			spare = spares[0]
		}
		mtu := w.chosenMTU(w.vxlanMTU())
		if w.tooNarrow(prefix, mtu) {
			return out
		}
		return append(w.neighbour(out, prefix, spare), w.tunnelled(prefix, spare, mtu))
	}
	slot := w.choice.Slot
	mtu := w.chosenMTU(w.mtuOver(w.sealing()))
	if int(slot) >= len(w.open) || !w.open[slot] || w.tooNarrow(prefix, mtu) {
		return out
	}
	return append(out, w.through(prefix, slot, mtu, 0))
}

// mayStay tells whether the pair may be on a direct route: by what the cluster sends
// by, or by what it still receives by.
func (w *way) mayStay() bool {
	carriers := append([]intent.Carrier{w.cluster.Carrier()}, w.cluster.Receive...)
	return slices.ContainsFunc(carriers, func(k intent.Carrier) bool { return w.by(k).Ways(w.self, w.peer).Direct.OK })
}

// wide adds a route of the choice unless the path is too narrow for it.
func (w *way) wide(out []datapath.Object, prefix netip.Prefix, r datapath.Route, mtu int) []datapath.Object {
	mtu = w.chosenMTU(mtu)
	if w.tooNarrow(prefix, mtu) {
		return out
	}
	r.MTU = below(mtu, w.path.Local.MTU)
	return append(out, r)
}

// chosenMTU is what was found of the path, or else what its ends say.
func (w *way) chosenMTU(ends int) int {
	if w.choice.MTU > 0 {
		return min(ends, w.choice.MTU)
	}
	return ends
}

// onLink is the route to a prefix over a link that both nodes may share, if their
// addresses say so.
func (w *way) onLink(prefix netip.Prefix) (datapath.Route, bool) {
	if !w.path.Local.Addr.IsValid() || !intent.SameLink(w.path.Local, w.path.Remote) {
		return datapath.Route{}, false
	}
	local, remote, ok := w.path.Link(w.self, w.peer, prefix.Addr().Is4())
	if !ok {
		return datapath.Route{}, false
	}
	src, _ := w.self.FabricOf(prefix.Addr().Is4())
	return datapath.Route{Dst: prefix, Via: remote.Addr.Addr(), Dev: local.Device, Src: src, MTU: below(w.mtuOver(0), local.MTU)}, true
}
