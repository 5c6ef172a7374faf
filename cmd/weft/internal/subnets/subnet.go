package subnets

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds on what is read.
const (
	maxBytes   = 64 << 20
	maxSubnets = 20_000
)

// Subnet is what one node has.
type Subnet struct {
	Node     string       // empty if only the host's address is known
	Hosts    []netip.Addr // addresses of the node on the network below
	Prefixes []netip.Prefix
	From     string // key, file or object that says so
}

// String tells a subnet for people.
func (s Subnet) String() string {
	var out []string
	for _, p := range s.Prefixes {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}

// Name gives nodes without a name that of the node with their address.
func Name(in []Subnet, names map[netip.Addr]string) []Subnet {
	out := slices.Clone(in)
	for i, s := range out {
		for _, a := range s.Hosts {
			if name := names[a]; s.Node == "" && name != "" {
				out[i].Node = name
			}
		}
	}
	return out
}

// Names are the names of nodes by their addresses.
func Names(in []Subnet) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, s := range in {
		for _, a := range s.Hosts {
			out[a] = s.Node
		}
	}
	return out
}

// Check tells of each subnet why it cannot be taken over as it is, whatever fabric
// it goes to; an empty text if it can.
func Check(in []Subnet) []string {
	out := make([]string, len(in))
	for i, s := range in {
		switch {
		case s.Node == "" && len(s.Hosts) > 0:
			out[i] = fmt.Sprintf("which node is %v? give --name %v=NODE, or --nodes FILE", s.Hosts[0], s.Hosts[0])
		case s.Node == "":
			out[i] = "it names no node"
		case len(s.Prefixes) == 0:
			out[i] = "it has no subnet"
		}
		for j, o := range in[:i] {
			switch {
			case out[i] != "":
			case o.Node == s.Node:
				out[i] = fmt.Sprintf("%s has %v too", s.Node, o)
			case overlaps(s, in[j]):
				out[i] = fmt.Sprintf("overlaps %v of %s", o, o.Node)
			}
		}
	}
	return out
}

func overlaps(a, b Subnet) bool {
	return slices.ContainsFunc(a.Prefixes, func(p netip.Prefix) bool { return slices.ContainsFunc(b.Prefixes, p.Overlaps) })
}

// masked reads a prefix and takes the bits below its length off: an address within
// is how Flannel writes its own.
func masked(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%.60q is not a subnet such as 10.42.1.0/24", text)
	}
	return p.Masked(), nil
}
