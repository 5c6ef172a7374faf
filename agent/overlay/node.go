package overlay

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// leaseMetric is the metric of the routes that keep a lease's unused addresses
// from leaving by the default route. It lies at the far end of the range that
// is ours, so a pod's route wins even where a lease is one address long.
const leaseMetric = 8799

// defaultMTU is weft0's while the node knows no uplink.
const defaultMTU = 1500

// Node is all from which the overlay of one node is planned.
type Node struct {
	Intent      intent.Node
	Underlay    []intent.Underlay // as the kernel has it now; may be newer than what peers know
	VTEP        datapath.MAC      // of this node's VXLAN devices, kept over restarts; weft0's follows from it
	ChecksumOff bool              // switch transmit checksum offload of the VXLAN devices off
	AcceptRA    []string          // links with accept_ra=1 whose default route came from an advertisement
	Slots       []intent.Slot     // the node's own WireGuard devices; may be newer than what peers know
	// Choices are by which way each peer is sent to that chooses: the same map while
	// nothing changes. What it does not name stays as the kernel has it, as long as the
	// caller keeps it.
	Choices map[string]mesh.Choice
}

// plan is one planning of a node.
type plan struct {
	Node
	cluster  intent.Cluster
	self     intent.Peer
	carriers []intent.Carrier // of VXLAN, by which packets may come; each has devices of its own
	tunnels  [2]bool          // families of the underlay that may carry VXLAN: IPv6, IPv4
	slots    []intent.Slot    // WireGuard devices to have
	objects  []datapath.Object
	problems []intent.Problem

	sealedMTU int // of the WireGuard devices, bytes
}

func newPlan(n Node, self intent.Peer) *plan {
	p := &plan{Node: n, cluster: n.Intent.Cluster, self: self, carriers: carriers(n.Intent.Cluster)}
	if p.cluster.Meshed() {
		p.slots, p.sealedMTU = n.Slots, cmp.Or(widest(n.Underlay), anyMTU)
	}
	return p
}

// Objects plans the node. The objects are in a fixed order: devices, addresses,
// guard, ways to peers by name, from where they send.
func Objects(n Node) ([]datapath.Object, []intent.Problem) {
	var c Cache
	parts, problems := c.Parts(n)
	return slices.Concat(parts...), problems
}

func (p *plan) add(objects ...datapath.Object) { p.objects = append(p.objects, objects...) }

func (p *plan) problem(subject, remedy, cause string, args ...any) {
	p.problems = append(p.problems, intent.Problem{Subject: subject, Cause: fmt.Sprintf(cause, args...), Remedy: remedy})
}

// uses tells whether the cluster or the node's lease has a family.
func (p *plan) uses(is4 bool) bool {
	for _, prefixes := range [][]netip.Prefix{p.cluster.CIDRs, p.self.Lease} {
		for _, c := range prefixes {
			if c.Addr().Is4() == is4 {
				return true
			}
		}
	}
	return false
}

// forwarding is what the kernel needs to forward for pods. Forwarding of IPv6
// makes it ignore router advertisements unless accept_ra is 2
// (Documentation/networking/ip-sysctl.rst), so that stands first.
func (p *plan) forwarding() {
	if p.uses(true) {
		p.add(datapath.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"})
	}
	if p.uses(false) {
		for _, link := range p.AcceptRA {
			p.add(datapath.Sysctl{Path: "net/ipv6/conf/" + link + "/accept_ra", Value: "2"})
		}
		p.add(datapath.Sysctl{Path: "net/ipv6/conf/all/forwarding", Value: "1"})
	}
}

// fabric is weft0 with the fabric addresses, and the node's own leases.
func (p *plan) fabric() {
	mtu := p.cluster.PodMTU(p.self)
	if mtu == 0 {
		mtu = defaultMTU
	}
	for _, u := range p.Underlay {
		if fits := u.MTU - p.cluster.Overhead(u.Addr.Addr().Is4()); p.cluster.MTU > fits {
			p.problem(u.Device, fmt.Sprintf("echo '{apiVersion: weft/v1, kind: ClusterConfig, metadata: {name: default}, spec: {mtu: %d}}' | weft apply -f -", fits),
				"the cluster's MTU %d is more than the %d that fit through %s (%v)", p.cluster.MTU, fits, u.Device, u.Addr)
		}
	}
	p.add(datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MAC: fabricMAC(p.VTEP), MTU: mtu})
	p.settings(datapath.FabricLink, mtu)
	for _, l := range p.self.Lease { // the first of a family is the fabric address; pods of each prefix route over their own
		p.add(datapath.Addr{Dev: datapath.FabricLink, Prefix: netip.PrefixFrom(l.Addr(), l.Addr().BitLen())})
	}
	for _, l := range p.self.Lease {
		p.add(datapath.Route{Dst: l, Type: datapath.Blackhole, Metric: leaseMetric})
	}
}

// fabricMAC is weft0's address. It follows from the VTEP's, which is kept over
// restarts: the kernel would give each new device another, and whoever remembers
// the old one sends to nobody. It is the VTEP's but for one bit, so that no frame
// for one is taken by the other.
func fabricMAC(vtep datapath.MAC) datapath.MAC {
	if vtep != (datapath.MAC{}) {
		vtep[0] ^= 4 // stays a local unicast address
	}
	return vtep
}

// settings are those of a device of ours: paths may be asymmetric, and a host
// may have switched IPv6 off for new devices. A device below 1280 bytes has no
// IPv6 to set.
func (p *plan) settings(dev string, mtu int) {
	if p.uses(true) {
		p.add(datapath.Sysctl{Path: "net/ipv4/conf/" + dev + "/rp_filter", Value: "2"})
	}
	if p.uses(false) && mtu >= intent.MinMTU6 {
		p.add(datapath.Sysctl{Path: "net/ipv6/conf/" + dev + "/disable_ipv6", Value: "0"})
	}
}
