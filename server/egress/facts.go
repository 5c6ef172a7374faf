package egress

import (
	"net/netip"

	rules "github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/server/kind"
)

// rules are those of what is dialled at an address by way of a node, as far as this
// server knows it; of no node, those that hold everywhere. What the node's own file
// says, the node knows.
func (a *atlas) rules(node string, addr netip.Addr) rules.Rules {
	a.mu.RLock()
	defer a.mu.RUnlock()
	k := a.nodes[node]
	return rules.Rules{
		Ahead: true, // what is dialled from here: see Gate.check
		Facts: rules.Facts{
			Node: node, Addresses: k.addresses, HostPorts: k.ports,
			Lease:     a.leases.by[kind.Key(kind.Lease, "", node)],
			Announced: a.standing(node, addr),
			Services:  a.settings.ServiceCIDRs, Cluster: a.settings.ClusterCIDRs,
		},
		Policies: rules.Of(a.policies, node, k.labels),
	}
}

// standing is what a node announces that an address lies in, unless that is leased
// to another: nobody answers for another's addresses. a.mu is held.
func (a *atlas) standing(node string, addr netip.Addr) (out []netip.Prefix) {
	if p, whose := a.leases.find(addr); p.IsValid() && !(len(whose) == 1 && whose[0] == node) {
		return nil
	}
	for _, p := range a.announced.by[kind.Key(kind.Report, "", node)] {
		if p.Contains(addr) {
			out = append(out, p)
		}
	}
	return out
}
