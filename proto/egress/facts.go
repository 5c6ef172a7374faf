package egress

import (
	"net/netip"
	"slices"
)

// DefaultHostPorts are declared by every node: the kubelet's, and that of the
// runtime's streams.
func DefaultHostPorts() []uint16 { return []uint16{10250, 10010} }

// Facts are what a node is, as far as it says what may be dialled there.
type Facts struct {
	Node      string
	Addresses []netip.Addr   // its own: on the underlay, and external ones
	HostPorts []uint16       // that it declares beside DefaultHostPorts
	Lease     []netip.Prefix // whose first addresses are its own too
	Announced []netip.Prefix // that it answers for and that stand: see Standing
	Services  []netip.Prefix // of the cluster
	Cluster   []netip.Prefix // ranges that nodes lease from: for reasons only
}

// vouched is without what only the node says may be dialled at it: on another
// machine, a server's, that opens nothing. Whose an address is, nodes say too, so that
// of those only the ports of kubelets and runtimes are left.
func (f Facts) vouched() Facts {
	f.HostPorts, f.Announced = nil, nil
	return f
}

// own tells whether an address is the node's.
func (f Facts) own(a netip.Addr) bool {
	return slices.Contains(f.Addresses, a) || slices.ContainsFunc(f.Lease, func(p netip.Prefix) bool { return p.Addr() == a })
}

func (f Facts) hostPort(port uint16) bool {
	return slices.Contains(DefaultHostPorts(), port) || slices.Contains(f.HostPorts, port)
}

// granted is what is permitted without a policy: the rule that does, and what it is
// of.
func (f Facts) granted(t Target) (rule, why string, ok bool) {
	if p, in := holds(f.Services, t.Addr); in { // a proxy may have put service addresses on the node itself
		return "service", "a service address, in " + p.String(), true
	}
	if t.Own || f.own(t.Addr) {
		return "host-port", "a declared host port", f.hostPort(t.Port)
	}
	if p, in := holds(f.Lease, t.Addr); in {
		return "lease", "in the node's lease " + p.String(), true
	}
	if p, in := holds(f.Announced, t.Addr); in {
		return "announced", "in " + p.String() + ", which the node announces", true
	}
	return "", "", false
}

func holds(ps []netip.Prefix, a netip.Addr) (netip.Prefix, bool) {
	i := slices.IndexFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return ps[i], true
}

// Held is a prefix that a node has.
type Held struct {
	Node   string
	Prefix netip.Prefix
}

// Overlap is a prefix that a node announces and another one has.
type Overlap struct {
	Announced netip.Prefix
	By        Held
}

// Standing parts what a node announces into what stands and what does not, because
// it overlaps what others have: nobody answers for another's addresses.
func Standing(node string, announced []netip.Prefix, others []Held) (stand []netip.Prefix, refused []Overlap) {
	for _, a := range announced {
		i := slices.IndexFunc(others, func(h Held) bool { return h.Node != node && h.Prefix.Overlaps(a) })
		if i >= 0 {
			refused = append(refused, Overlap{a, others[i]})
			continue
		}
		stand = append(stand, a)
	}
	return stand, refused
}
