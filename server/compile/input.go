package compile

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Bounds on the parts of a peer, so that any Node, Lease and report together
// make an object that an agent reads: see MaxObject and the lists of
// proto/intent.
const (
	maxPart   = intent.MaxObject / 4 // bytes
	maxLabels = 512
)

// Defaults of ClusterConfig.
const (
	defaultVNI       = 4096 // never 1, which is Flannel's
	defaultVXLANPort = 8472 // the Linux kernel's own
)

// Cluster is what a ClusterConfig tells every node.
func Cluster(spec kind.ClusterConfigSpec) (intent.Cluster, error) {
	c := intent.Cluster{
		CIDRs:         spec.ClusterCIDRs,
		ServiceCIDRs:  spec.ServiceCIDRs,
		Backend:       intent.Backend(spec.Backend),
		DirectRouting: spec.DirectRouting,
		VNI:           spec.VNI,
		VXLANPort:     spec.VXLANPort,
		MTU:           spec.MTU,
		NonMasquerade: spec.NonMasqueradeCIDRs,
	}
	if c.Backend == "" {
		c.Backend = intent.VXLAN
	}
	if c.VNI == 0 {
		c.VNI = defaultVNI
	}
	if c.VXLANPort == 0 {
		c.VXLANPort = defaultVXLANPort
	}
	if c.MTU < 0 {
		return intent.Cluster{}, fmt.Errorf("mtu %d: at least 0", c.MTU)
	}
	for _, p := range c.CIDRs {
		yes, err := masqueraded(spec.Masquerade, p)
		if err != nil {
			return intent.Cluster{}, err
		}
		if yes {
			c.Masquerade = append(c.Masquerade, p)
		}
	}
	// The agent's own reading is the only validation there is.
	return intent.DecodeCluster(intent.EncodeCluster(c))
}

// masqueraded says whether pods of a cluster CIDR leave the cluster with their
// node's address. By default those that the world has no route to: all of IPv4,
// and of IPv6 the unique local ones (fc00::/7, RFC 4193).
func masqueraded(mode string, p netip.Prefix) (bool, error) {
	switch mode {
	case "", "auto":
		return p.Addr().Is4() || p.Addr().IsPrivate(), nil
	case "always":
		return true, nil
	case "never":
		return false, nil
	}
	return false, fmt.Errorf("masquerade %q: want auto, always or never", mode)
}

// lease reads a stored Lease.
func lease(e store.Entry, name string) (intent.Peer, error) {
	var spec kind.LeaseSpec
	if _, err := decode(e, name, &spec); err != nil {
		return intent.Peer{}, err
	}
	if spec.Node != name {
		return intent.Peer{}, fmt.Errorf("spec.node is %q, but a lease is named as its node", spec.Node)
	}
	if len(spec.Prefixes) == 0 {
		return intent.Peer{}, errors.New("spec.prefixes is empty")
	}
	return part(intent.Peer{Name: name, Lease: spec.Prefixes})
}

// report reads what a node last said of itself.
func report(e store.Entry, name string) (intent.Peer, error) {
	var spec kind.ReportSpec
	if _, err := decode(e, name, &spec); err != nil {
		return intent.Peer{}, err
	}
	p := intent.Peer{Name: name, Labels: spec.Labels}
	for _, a := range spec.Addresses {
		if a.MTU < 0 {
			return intent.Peer{}, fmt.Errorf("address %v: MTU %d", a.Address, a.MTU)
		}
		p.Underlay = append(p.Underlay, intent.Underlay{Addr: a.Address, Device: a.Device, MTU: a.MTU})
	}
	var err error
	if p.VTEP, err = intent.ParseMAC(spec.VTEP); err != nil {
		return intent.Peer{}, err
	}
	return part(p)
}

// node reads what operators say of a node.
func node(e store.Entry, name string) (intent.Peer, error) {
	var spec kind.NodeSpec
	o, err := decode(e, name, &spec)
	if err != nil {
		return intent.Peer{}, err
	}
	return part(intent.Peer{Name: name, Labels: o.Metadata.Labels})
}

// cluster reads the ClusterConfig.
func cluster(e store.Entry) (intent.Cluster, error) {
	var spec kind.ClusterConfigSpec
	if _, err := decode(e, kind.DefaultName, &spec); err != nil {
		return intent.Cluster{}, err
	}
	return Cluster(spec)
}

func decode(e store.Entry, name string, spec any) (kind.Object, error) {
	o, err := kind.Decode(e.Value, spec)
	if err != nil {
		return o, err
	}
	if o.Metadata.Name != name {
		return o, fmt.Errorf("metadata.name is %q, but it is stored as %q", o.Metadata.Name, name)
	}
	return o, nil
}

// part holds a piece of a peer to its bounds, and to what an agent reads.
func part(p intent.Peer) (intent.Peer, error) {
	if len(p.Labels) > maxLabels {
		return intent.Peer{}, fmt.Errorf("%d labels: at most %d", len(p.Labels), maxLabels)
	}
	b := intent.EncodePeer(p)
	if len(b) > maxPart {
		return intent.Peer{}, fmt.Errorf("%d bytes: at most %d", len(b), maxPart)
	}
	return intent.DecodePeer(b)
}

// inFamilyOrder sorts prefixes stably by the order of families that the cluster
// CIDRs give; families that they do not have come last.
func inFamilyOrder(prefixes []netip.Prefix, families []bool) []netip.Prefix {
	rank := func(p netip.Prefix) int {
		if i := slices.Index(families, p.Addr().Is4()); i >= 0 {
			return i
		}
		return len(families)
	}
	out := slices.Clone(prefixes)
	slices.SortStableFunc(out, func(a, b netip.Prefix) int { return rank(a) - rank(b) })
	return out
}
