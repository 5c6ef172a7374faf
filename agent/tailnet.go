package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/tailscale"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/intent"
)

// tailnet is the node's membership in a tailnet, with --vpn-auth; nil without.
type tailnet struct{ *tailscale.Provider }

// openTailnet makes the node a member, if it is to be one.
func (a *agent) openTailnet() error {
	if a.cfg.vpn == nil {
		return nil
	}
	p, err := tailscale.Open(tailscale.Config{Auth: *a.cfg.vpn, Dir: a.dir, Log: a.log, Wish: a.tailnetWish, Changed: a.tailnetChanged})
	if err != nil {
		return err
	}
	a.tailnet = &tailnet{p}
	return nil
}

// run keeps the node in its tailnet.
func (t *tailnet) run(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.Run(ctx)
}

// kick says that the intent or the host's links are others.
func (t *tailnet) kick() {
	if t != nil {
		t.Kick()
	}
}

// problems are what a person must do about the tailnet.
func (t *tailnet) problems() []intent.Problem {
	if t == nil {
		return nil
	}
	return t.Problems()
}

// addrs are the node's in the tailnet; false if it is in none by us.
func (t *tailnet) addrs() ([]netip.Addr, bool) {
	if t == nil {
		return nil, false
	}
	return t.Addrs(), true
}

// Way implements local.Tailnet.
func (t *tailnet) Way(c intent.Cluster, peer intent.Peer) (carried bool, why string) {
	if t == nil {
		return false, "this node's agent runs without --vpn-auth"
	}
	return t.Provider.Way(peer.Lease, c.CIDRs)
}

// tailnetWish is what the fabric wants of the tailnet now.
func (a *agent) tailnetWish() tailscale.Wish {
	n, held := a.uplink.Intent()
	self, _ := n.Self()
	if !held || len(self.Lease) == 0 {
		return tailscale.Wish{}
	}
	w := tailscale.Wish{Known: true, Carried: n.Cluster.Tailnetted(), Routes: self.Lease, Ranges: n.Cluster.CIDRs}
	for _, o := range intent.TailnetOverlaps(n.Cluster.CIDRs, n.Cluster.ServiceCIDRs) {
		w.Refused = fmt.Sprintf("ClusterConfig/default %s: %v overlaps %v, from which a tailnet gives its members their addresses", o.Field, o.Prefix, o.Range)
		return w
	}
	for _, p := range n.Peers {
		if p.Name != n.Name && len(p.Lease) > 0 {
			w.Peers = append(w.Peers, tailscale.Peer{Name: p.Name, Routes: p.Lease})
		}
	}
	return w
}

// tailnetChanged runs when the tailnet has been looked at.
func (a *agent) tailnetChanged() {
	a.host.kick()
	a.uplink.SetProblems(a.problems())
	a.tellPaths()
	a.touch()
}

// tellPaths tells the servers where the pairs of the last plan stand.
func (a *agent) tellPaths() {
	if s := a.stands.Load(); s != nil && s.node.Revision == a.loop.Applied() {
		told := summary(s.node, s.choices, a.pairs.silent())
		if s.node.Cluster.Tailnetted() {
			told = a.tailnet.summary(s.node, told)
		}
		a.uplink.SetPaths(told)
	}
}

// summary adds to a summary which peers the tailnet does not carry yet: while the
// fabric changes to it, these are sent to by the carrier that is left.
func (t *tailnet) summary(n intent.Node, s uplink.Paths) uplink.Paths {
	s.Epoch, s.Revision, s.Leaving = n.Epoch, n.Revision, len(n.Cluster.Receive) > 0
	if n.Cluster.Backend != intent.Tailnet {
		return s
	}
	s.Old = nil
	for _, p := range n.Peers {
		if p.Name != n.Name && len(p.Lease) > 0 && (t == nil || !t.Carries(p.Lease)) {
			s.Old = append(s.Old, p.Name)
		}
	}
	return s
}

// noTailnetDevice says that the node's addresses in the tailnet are on no device. Nobody
// named them, and nobody but tailscaled puts them there.
func noTailnetDevice(addrs []netip.Addr) []intent.Problem {
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return []intent.Problem{{
		Subject: "tailscale", Cause: "the node's addresses in the tailnet are on no device, kept as they were: " + strings.Join(list, ", "),
		Remedy: "look: tailscale status, journalctl -u tailscaled",
	}}
}

// tailnetIPs are the addresses that are the node's because of --vpn-auth, those of
// them that the host has; false while there are none.
func tailnetIPs(host datapath.Host, addrs []netip.Addr) ([]netip.Addr, bool) {
	out := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return !slices.ContainsFunc(host.Addrs, func(h datapath.HostAddr) bool { return h.Prefix.Addr() == a })
	})
	if len(out) == 0 { // the device is gone for a moment: who chooses says so
		return addrs, len(addrs) > 0
	}
	return out, true
}
