package intent

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sort"

	"github.com/weft-net/weft/proto/egress"
)

// Collections of objects on the stream, and the schema of each that this
// release writes and reads.
const (
	CollectionCluster = "cluster" // one object, KeyCluster
	CollectionPeers   = "peers"   // one object a node, PeerKey

	SchemaCluster = 1
	SchemaPeers   = 1

	// CompileVersion changes when the same resources compile to other objects.
	CompileVersion = 1

	// KeyCluster is the key of the only object of CollectionCluster.
	KeyCluster = "ClusterConfig//default"
)

// PeerKey is the key of a node's object in CollectionPeers.
func PeerKey(name string) string { return "Node//" + name }

// Backend is how packets travel between nodes.
type Backend string

// The backends that this release compiles.
const (
	VXLAN  Backend = "vxlan"
	HostGW Backend = "host-gw"
	None   Backend = "none"
)

// MAC is an Ethernet address. The zero value means none.
type MAC [6]byte

// Node is all that one node has been told.
type Node struct {
	Name     string
	Epoch    string
	Compile  uint32
	Revision int64
	Cluster  Cluster
	Peers    []Peer          // sorted by name; the node itself is among them once it holds a lease
	Egress   []egress.Policy // of all nodes, sorted by name: see EgressPolicies
	Pause    Pause           // of healing; zero: none
}

// Self returns the node's own entry among its peers.
func (n Node) Self() (Peer, bool) { return n.Peer(n.Name) }

// Peer returns the entry of a name.
func (n Node) Peer(name string) (Peer, bool) {
	i := sort.Search(len(n.Peers), func(i int) bool { return n.Peers[i].Name >= name })
	if i < len(n.Peers) && n.Peers[i].Name == name {
		return n.Peers[i], true
	}
	return Peer{}, false
}

// Cluster is what all nodes share.
type Cluster struct {
	CIDRs         []netip.Prefix // their order is the order of families everywhere
	ServiceCIDRs  []netip.Prefix
	Backend       Backend
	DirectRouting bool           // with VXLAN: pairs on one L2 are routed
	VNI           uint32         // 24 bits
	VXLANPort     uint16         // UDP
	Spare         bool           // VXLAN's devices are the spare ones
	Receive       []Carrier      // whose packets are taken as well, while the fabric changes from one to another
	Behind        []string       // sorted; nodes that do not know how the others send yet: see Toward
	MTU           int            // of pods' devices, bytes; 0 derives it
	Masquerade    []netip.Prefix // cluster CIDRs masqueraded when traffic leaves the cluster
	NonMasquerade []netip.Prefix // further destinations reached with the pod's own address
	Encryption    Encryption     // of backend auto
	Topology      Topology
	WireGuardPort uint16 // UDP, of slot 0; slot 1 has the next
	PostQuantum   bool   // pairs agree on pre-shared keys
	KeyDays       int    // after which a node changes its WireGuard key; 0: never
}

// Peer is a node as every node knows it.
type Peer struct {
	Name     string
	Lease    []netip.Prefix // masked, in the order of Cluster.CIDRs; several of a family possible
	Underlay []Underlay     // in the node's order of preference
	VTEP     MAC            // of the node's VXLAN devices
	Labels   map[string]string
	Draining []netip.Prefix // of Lease: no pod gets an address of these any more

	Slots      []Slot      // WireGuard devices
	Candidates []Candidate // where these may be reached, in the node's order
	NAT4, NAT6 NAT
	Relays     []string // names of servers whose relay it is connected to, the quickest first
	Preshared  bool     // its agent knows pre-shared keys
	NoDevices  bool     // nobody makes WireGuard devices there, as its agent says
	NoMesh     bool     // its agent is of a release that knows no pairs which choose their way
}

// Underlay is one address of a node on the network below.
type Underlay struct {
	Addr   netip.Prefix // the address with its link's prefix length, not masked
	Device string
	MTU    int // bytes
}

// Fabric returns the node's fabric addresses: the all-zeros address of the
// first lease of each family, in the order of the lease.
func (p Peer) Fabric() []netip.Addr {
	var out []netip.Addr
	for _, l := range p.Lease {
		if _, ok := find(out, l.Addr().Is4()); !ok {
			out = append(out, l.Addr())
		}
	}
	return out
}

// Shut returns the prefixes of a node from which no pod gets an address: those that
// drain. Of a family of the cluster that has no other there is none: pods that start
// go before prefixes that are wanted back.
func (c Cluster) Shut(p Peer) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(p.Draining), func(d netip.Prefix) bool {
		is4 := d.Addr().Is4()
		other := slices.ContainsFunc(p.Lease, func(l netip.Prefix) bool { return l.Addr().Is4() == is4 && !slices.Contains(p.Draining, l) })
		return !slices.Contains(p.Lease, d) || !other && slices.Contains(Families(c.CIDRs), is4)
	})
}

// FabricOf returns the fabric address of one family.
func (p Peer) FabricOf(is4 bool) (netip.Addr, bool) { return find(p.Fabric(), is4) }

// UnderlayOf returns the preferred underlay address of one family.
func (p Peer) UnderlayOf(is4 bool) (Underlay, bool) {
	for _, u := range p.Underlay {
		if u.Addr.Addr().Is4() == is4 {
			return u, true
		}
	}
	return Underlay{}, false
}

func find(addrs []netip.Addr, is4 bool) (netip.Addr, bool) {
	for _, a := range addrs {
		if a.Is4() == is4 {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// String is the usual form: 02:57:00:00:00:01.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// ParseMAC reads six octets in the usual form. The empty string is the zero MAC.
func ParseMAC(s string) (MAC, error) {
	if s == "" {
		return MAC{}, nil
	}
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("intent: %q is not a MAC address of 6 octets", s)
	}
	return MAC(hw), nil
}

// Equal tells whether two clusters are told the same.
func (c Cluster) Equal(o Cluster) bool {
	return slices.Equal(c.CIDRs, o.CIDRs) && slices.Equal(c.ServiceCIDRs, o.ServiceCIDRs) &&
		c.Backend == o.Backend && c.DirectRouting == o.DirectRouting && c.VNI == o.VNI && c.VXLANPort == o.VXLANPort && c.MTU == o.MTU &&
		c.Spare == o.Spare && slices.Equal(c.Receive, o.Receive) && slices.Equal(c.Behind, o.Behind) &&
		slices.Equal(c.Masquerade, o.Masquerade) && slices.Equal(c.NonMasquerade, o.NonMasquerade) &&
		c.Encryption == o.Encryption && c.Topology == o.Topology && c.WireGuardPort == o.WireGuardPort && c.PostQuantum == o.PostQuantum && c.KeyDays == o.KeyDays
}

// Equal tells whether two peers are known alike.
func (p Peer) Equal(o Peer) bool {
	return p.Name == o.Name && slices.Equal(p.Lease, o.Lease) && slices.Equal(p.Underlay, o.Underlay) && p.VTEP == o.VTEP &&
		maps.Equal(p.Labels, o.Labels) && slices.Equal(p.Draining, o.Draining) &&
		slices.Equal(p.Slots, o.Slots) && slices.Equal(p.Candidates, o.Candidates) && p.NAT4 == o.NAT4 && p.NAT6 == o.NAT6 && slices.Equal(p.Relays, o.Relays) && p.Preshared == o.Preshared && p.NoDevices == o.NoDevices && p.NoMesh == o.NoMesh
}
