package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-net/weft/agent/egress"
	"github.com/weft-net/weft/ipam"
	rules "github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/tunnel"
)

// Bounds on what a node declares, those of its report.
const (
	maxAnnounced = 64
	maxHostPorts = 64
)

// dials is what servers dial through this node.
type dials struct {
	*egress.Egress
	file *egress.File

	mu       sync.Mutex
	epoch    string // of what follows, with the revision
	revision int64
	standing []netip.Prefix // of what the node announces
}

// openDials reads the node's file and makes ready to serve tunnels.
func (a *agent) openDials() {
	file := a.cfg.egressFile()
	told := func() { a.setProblems("egress", a.dials.file.Problems()) }
	file.OnChange = func() { told(); a.touch() }
	a.dials.file = egress.OpenFile(file)
	told()
	a.dials.Egress = egress.New(egress.Config{Node: a.cfg.NodeName, Rules: a.egressRules, Log: a.log})
}

// egressFile says which file bounds what servers may dial.
func (c Config) egressFile() egress.FileConfig {
	return egress.FileConfig{Path: cmp.Or(c.EgressFile, egress.DefaultFile), Needed: c.EgressFile != "", Log: c.Log}
}

// serve serves the tunnel to one server, until it ends.
func (d *dials) serve(ctx context.Context, c *tunnel.Conn, server string) {
	_ = d.Serve(ctx, c, server) // who keeps the tunnel tells why it ended
}

var errNotTold = errors.New("no server has told the node yet what the fabric is")

// egressRules are those of this node as it is now. Before it holds an intent it
// knows no policy.
func (a *agent) egressRules() (rules.Rules, error) {
	n, held := a.uplink.Intent()
	if !held {
		return rules.Rules{}, errNotTold
	}
	self, _ := n.Self()
	f := rules.Facts{
		Node: n.Name, Addresses: slices.Clone(a.cfg.ExternalIPs), HostPorts: a.cfg.HostPorts, Lease: self.Lease,
		Announced: a.dials.stands(n, a.cfg.Announced), Services: n.Cluster.ServiceCIDRs, Cluster: n.Cluster.CIDRs,
	}
	for _, u := range append(a.host.view().underlay, self.Underlay...) { // now, and as servers know it
		f.Addresses = append(f.Addresses, u.Addr.Addr())
	}
	return rules.Rules{Facts: f, Policies: n.EgressPolicies(), Bound: a.dials.file.Bound()}, nil
}

// stands is what a node announces that no other has leased; it is looked for once a
// revision.
func (d *dials) stands(n intent.Node, announced []netip.Prefix) []netip.Prefix {
	if len(announced) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.standing != nil && d.epoch == n.Epoch && d.revision == n.Revision {
		return d.standing
	}
	var others []rules.Held
	for _, p := range n.Peers {
		for _, l := range p.Lease {
			others = append(others, rules.Held{Node: p.Name, Prefix: l})
		}
	}
	d.epoch, d.revision = n.Epoch, n.Revision
	stand, _ := rules.Standing(n.Name, announced, others) // a server tells what does not, and whose it is
	d.standing = append([]netip.Prefix{}, stand...)
	return d.standing
}

// refuseEgress refuses what says what may be dialled through the node.
func (c Config) refuseEgress() error {
	if len(c.HostPorts) > maxHostPorts {
		return fmt.Errorf("agent: --egress-host-port names %d ports; at most %d are accepted", len(c.HostPorts), maxHostPorts)
	}
	if slices.Contains(c.HostPorts, 0) {
		return errors.New("agent: --egress-host-port 0: accepted: 1 to 65535")
	}
	if len(c.Announced) > maxAnnounced {
		return fmt.Errorf("agent: --announce-prefix names %d prefixes; at most %d are accepted", len(c.Announced), maxAnnounced)
	}
	for i, p := range c.Announced {
		switch err := ipam.Special(p); {
		case p.Addr().Is4In6():
			return fmt.Errorf("agent: --announce-prefix %v is IPv4 mapped into IPv6; write it as IPv4", p)
		case p != p.Masked():
			return fmt.Errorf("agent: --announce-prefix %v has host bits; did you mean %v", p, p.Masked())
		case err != nil:
			return fmt.Errorf("agent: --announce-prefix %w", err)
		}
		if a, b, found := ipam.Overlap(c.Announced[:i+1]); found {
			return fmt.Errorf("agent: --announce-prefix %v overlaps %v", b, a)
		}
	}
	return nil
}
