package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/agent/overlay"
	"github.com/weft-net/weft/agent/reconcile"
	"github.com/weft-net/weft/proto/intent"
)

// plan makes one desired state of what the servers said, what the host's network
// is and which pods there are. Nothing may be removed before the intent is
// complete and gives the node a lease.
func (a *agent) plan(context.Context) (reconcile.Want, error) {
	n, held := a.uplink.Intent()
	self, _ := n.Self()
	pods := a.pods.Objects()
	if !held || len(self.Lease) == 0 {
		a.setProblems("plan", nil)
		return reconcile.Want{Objects: pods, Revision: n.Revision}, nil
	}
	v := a.host.view()
	fabric, problems := a.overlay.Parts(overlay.Node{
		Intent: n, Underlay: v.underlay, VTEP: a.uplink.VTEP(), ChecksumOff: a.checksumOff(v.underlay), AcceptRA: v.acceptRA,
	})
	rules, err := a.nat.Objects(nat.Node{Cluster: n.Cluster, Lease: self.Lease, HostPorts: a.pods.HostPorts(), Guard: a.guarded()})
	problems = slices.Clone(problems) // the cache's
	for _, e := range unjoin(err) {
		problems = append(problems, intent.Problem{Subject: "hostPort", Cause: e.Error(), Remedy: "change the pod's hostPort"})
	}
	a.setProblems("plan", problems)
	parts := append(slices.Clone(fabric), rules, pods)
	return reconcile.Want{Parts: parts, Complete: true, Revision: n.Revision}, nil
}

// guarded are the families whose forwarding was off before weft: there, nobody
// else counts on it.
func (a *agent) guarded() []bool {
	var out []bool
	if a.settings.had("net/ipv4/ip_forward", "0") {
		out = append(out, true)
	}
	if a.settings.had("net/ipv6/conf/all/forwarding", "0") {
		out = append(out, false)
	}
	return out
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
