package agent

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/agent/overlay"
	"github.com/weft-net/weft/agent/reconcile"
	"github.com/weft-net/weft/proto/intent"
)

// plan makes one desired state of what the servers said, what the host's network
// is and which pods there are. Nothing may be removed before the intent is
// complete and gives the node a lease.
func (a *agent) plan(ctx context.Context) (reconcile.Want, error) {
	n, held := a.uplink.Intent()
	self, _ := n.Self()
	pods := a.pods.Objects()
	if !held || len(self.Lease) == 0 {
		a.setProblems("plan", nil)
		return reconcile.Want{Objects: pods, Revision: n.Revision}, nil
	}
	v := a.host.view()
	choices, slots := a.pairs.choices()
	fabric, problems := a.overlay.Parts(overlay.Node{
		Intent: n, Underlay: v.underlay, VTEP: a.uplink.VTEP(), ChecksumOff: a.checksumOff(v.underlay), AcceptRA: v.acceptRA,
		Choices: choices, Slots: slots,
	})
	guard, err := a.guarded(ctx)
	if err != nil {
		return reconcile.Want{}, err
	}
	rules, err := a.nat.Objects(nat.Node{Cluster: n.Cluster, Lease: self.Lease, HostPorts: a.pods.HostPorts(), Guard: guard})
	problems = slices.Clone(problems) // the cache's
	for _, e := range unjoin(err) {
		problems = append(problems, intent.Problem{Subject: "hostPort", Cause: e.Error(), Remedy: "change the pod's hostPort"})
	}
	a.setProblems("plan", problems)
	want := reconcile.Want{Parts: append(slices.Clone(fabric), rules, pods, a.loose(v.underlay)), Complete: true, Revision: n.Revision}
	if !a.uplink.Confirmed() || lacking(n, choices) {
		want.Keep = ofPeers
	}
	a.stands.Store(&standing{n, choices})
	return want, nil
}

// ofPeers tells whether an object leads to peers. The intent on disk may be older
// than the kernel: until a server has spoken, a peer that it does not name may
// have come just before the agent was killed.
func ofPeers(o datapath.Object) bool {
	switch o := o.(type) {
	case datapath.Route:
		return !datapath.IsPodLink(o.Dev)
	case datapath.Neigh:
		return !datapath.IsPodLink(o.Dev)
	case datapath.Addr: // with the last one a device loses all IPv4 routes
		return !datapath.IsPodLink(o.Dev)
	case datapath.Element:
		return strings.HasPrefix(o.Set, overlay.PeerSets)
	case datapath.Link:
		return o.Type != datapath.LinkVeth
	case datapath.Set:
		return strings.HasPrefix(o.Name, overlay.PeerSets)
	case datapath.FDB, datapath.WGPeer:
		return true
	}
	return false
}

// guarded are the families whose forwarding was off before weft, as long as nobody
// else has come who governs what this host forwards: only there nobody counts on
// it.
func (a *agent) guarded(ctx context.Context) ([]bool, error) {
	if a.cfg.ForwardingGuard != Auto {
		return nil, nil
	}
	var off []bool
	if a.settings.had("net/ipv4/ip_forward", "0") {
		off = append(off, true)
	}
	if a.settings.had("net/ipv6/conf/all/forwarding", "0") {
		off = append(off, false)
	}
	if len(off) == 0 {
		return nil, nil
	}
	chains, err := a.kernel.OtherChains(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(off, func(is4 bool) bool {
		return slices.ContainsFunc(chains, func(c datapath.HostChain) bool { return governs(c, is4) })
	}), nil
}

// governs tells whether a chain of somebody else says what of a family this host
// forwards, or translates what it does: containers, machines and tunnels of
// others come with one of the two.
func governs(c datapath.HostChain, is4 bool) bool {
	if c.Family == "ip" && !is4 || c.Family == "ip6" && is4 {
		return false
	}
	return c.Hook == "forward" || c.Hook == "postrouting" && c.Type == "nat"
}

func (a *agent) checksumOff(us []intent.Underlay) bool {
	var drivers []string
	for _, u := range us {
		drivers = append(drivers, driver(u.Device))
	}
	return checksumOff(a.cfg.ChecksumOff, a.release, drivers)
}

// unjoin lists the errors that errors.Join put together.
func unjoin(err error) []error {
	var many interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &many):
		return many.Unwrap()
	}
	return []error{err}
}

// withUnderlay is the intent with the node's own addresses as they are now,
// which its peers may hear of later.
func (a *agent) withUnderlay() (intent.Node, bool) {
	n, ok := a.uplink.Intent()
	self, has := n.Self()
	if !has {
		return n, ok
	}
	self.Underlay, self.VTEP = a.host.view().underlay, a.uplink.VTEP()
	peers := make([]intent.Peer, len(n.Peers))
	copy(peers, n.Peers)
	for i := range peers {
		if peers[i].Name == n.Name {
			peers[i] = self
		}
	}
	n.Peers = peers
	return n, ok
}
