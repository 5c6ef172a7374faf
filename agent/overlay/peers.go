package overlay

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// minMTU4 is the least MTU of a link that carries IPv4 (RFC 791, section 3.2).
const minMTU4 = 68

// reachable tells whether ways to peers are to be planned. A node that roams has no
// address for a while, and keeps its tunnels.
func (p *plan) reachable() bool {
	if len(p.Underlay) == 0 && len(p.Intent.Peers) > 1 {
		p.problem("uplink", "see which address the agent looks for; --node-ip or --iface names one",
			"this node has no underlay address, so no other node is reached")
		return p.cluster.Meshed()
	}
	return true
}

// owned tells whose each thing is that only one peer can have.
type owned struct {
	lost  map[claim]bool       // claims to a prefix that do not count
	vteps map[datapath.MAC]int // the peer that has a VTEP's address
	keys  map[intent.Key]int   // the peer that has a WireGuard key
}

// one plans the way to the i-th peer.
func (p *plan) one(i int, o owned) *planned {
	peer := p.Intent.Peers[i]
	cluster := p.cluster.Toward(p.Intent.Name, peer.Name)
	w := way{
		plan: &plan{Node: p.Node, cluster: cluster, self: p.self, slots: p.slots, sealedMTU: p.sealedMTU}, // for problems of its own
		peer: peer, path: cluster.Path(p.self, peer), vtep: o.vteps[peer.VTEP] == i,
	}
	for _, s := range peer.Slots {
		w.keys[s.Slot] = o.keys[s.Key] == i
	}
	w.choice, w.has = p.Choices[peer.Name]
	out := &planned{peer: peer, choice: w.choice, chosen: w.has}
	if is4, ok := p.takes(peer); ok {
		out.tunnel[family(is4)] = true
	}
	prefixes := slices.DeleteFunc(slices.Clone(peer.Lease), func(l netip.Prefix) bool { return o.lost[claim{l, i}] })
	out.way = w.seal(out.way, prefixes)
	switch {
	case cluster.Carrier().Meshed():
		out.way = w.chosen(out.way, prefixes)
	case cluster.Backend == intent.Tailnet: // its routes come before ours; behind them nothing goes out in the clear
		w.usable()
		for _, prefix := range prefixes {
			out.way = w.refuse(out.way, prefix)
		}
	case cluster.Backend != intent.None && w.usable(): // else who routes is somebody else
		for _, prefix := range prefixes {
			out.way = w.route(out.way, prefix)
		}
	}
	out.problems = w.problems
	return out
}

// takes tells over which family of the underlay the peer's VXLAN may come.
func (p *plan) takes(peer intent.Peer) (is4, ok bool) {
	if len(peer.Lease) == 0 {
		return false, false
	}
	for _, k := range p.cluster.VXLANs() {
		path := p.by(k).Path(p.self, peer)
		if path.Transport != intent.NoPath && path.MTU >= minMTU4 && p.carries(k, peer) {
			return path.Local.Addr.Addr().Is4(), true
		}
	}
	return false, false
}

// family is the index of a family in plan.tunnels.
func family(is4 bool) int {
	if is4 {
		return 1
	}
	return 0
}

// way is the way to one peer.
type way struct {
	*plan
	peer   intent.Peer
	path   intent.Path
	vtep   bool // the peer's VTEP MAC is its alone
	choice mesh.Choice
	has    bool               // a choice was made
	keys   [intent.Slots]bool // the peer's WireGuard keys are its alone

	may  intent.Ways           // of a pair that chooses its way
	open [intent.Slots]bool    // WireGuard devices that hold the peer
	met  map[datapath.Key]bool // neighbours and forwarding entries that are planned
}

func (w *way) usable() bool {
	subject := intent.PeerKey(w.peer.Name)
	switch {
	case len(w.peer.Lease) == 0:
		return false
	case len(w.peer.Underlay) == 0:
		w.problem(subject, "on "+w.peer.Name+": systemctl status weft-agent", "node %s has reported no address yet", w.peer.Name)
		return false
	case w.path.Transport == intent.NoPath && w.cluster.Backend == intent.Tailnet:
		w.problem(subject, "start the agent there with --vpn-auth, or look: tailscale status", "no path to %s: %s", w.peer.Name, w.path.Why)
		return false
	case w.path.Transport == intent.NoPath:
		w.problem(subject, "set backend vxlan, or give both nodes an address of one family (and for host-gw of one subnet)",
			"no path to %s: %s", w.peer.Name, w.path.Why)
		return false
	case w.path.MTU < minMTU4:
		w.problem(subject, "look at the MTU of "+w.path.Local.Device+" here and of "+w.path.Remote.Device+" there",
			"path to %s would have an MTU of %d", w.peer.Name, w.path.MTU)
		return false
	}
	return true
}

// route plans one prefix of the peer.
func (w *way) route(out []datapath.Object, prefix netip.Prefix) []datapath.Object {
	is4 := prefix.Addr().Is4()
	if w.path.Transport == intent.Direct {
		local, remote, ok := w.path.Link(w.self, w.peer, is4)
		if ok {
			return w.direct(out, prefix, local, remote)
		}
		if w.cluster.Backend != intent.VXLAN {
			w.problem(intent.PeerKey(w.peer.Name), "give both nodes an address of that family on "+w.path.Local.Device+", or set backend vxlan",
				"%v of %s is not reached: a direct route needs underlay addresses of the prefix's own family on one link", prefix, w.peer.Name)
			return w.refuse(out, prefix)
		}
	}
	return w.tunnel(out, prefix)
}

// direct routes a prefix over the shared link.
func (w *way) direct(out []datapath.Object, prefix netip.Prefix, local, remote intent.Underlay) []datapath.Object {
	mtu := min(local.MTU, remote.MTU, w.path.MTU)
	if w.tooNarrow(prefix, mtu) {
		return w.refuse(out, prefix)
	}
	src, _ := w.self.FabricOf(prefix.Addr().Is4())
	return append(out, datapath.Route{
		Dst: prefix, Via: remote.Addr.Addr(), Dev: local.Device, Src: src, MTU: below(mtu, local.MTU),
	})
}

// below is an MTU where it is smaller than its device's, else none.
func below(mtu, dev int) int {
	if mtu < dev {
		return mtu
	}
	return 0
}

// tooNarrow reports a path that IPv6 cannot take.
func (w *way) tooNarrow(prefix netip.Prefix, mtu int) bool {
	if prefix.Addr().Is4() || !narrow(prefix, mtu) {
		return false
	}
	w.problem(intent.PeerKey(w.peer.Name), "raise the MTU of the uplink here or on "+w.peer.Name+", or take IPv6 out of the cluster",
		"%v of %s is refused: the path's MTU is %d and IPv6 needs %d", prefix, w.peer.Name, mtu, intent.MinMTU6)
	return true
}

// refuse keeps packets for a peer that cannot be reached from leaving, in the
// clear, by the default route.
func (*way) refuse(out []datapath.Object, prefix netip.Prefix) []datapath.Object {
	return append(out, datapath.Route{Dst: prefix, Type: datapath.Blackhole, Metric: leaseMetric})
}
