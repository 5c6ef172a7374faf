package nat

import (
	"net/netip"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// Places of this room in the chains that it shares with others.
const (
	tunnelIndex = 50  // before all else
	guardIndex  = 900 // fwdpolicy: behind every policy
	ruleIndex   = 100 // all other chains
)

const podLinks = datapath.PodPrefix + "*"

// Node is all from which a node's address translation is planned.
type Node struct {
	Cluster   intent.Cluster
	Lease     []netip.Prefix // the node's own
	HostPorts []HostPort     // of its pods, in any order
	Guard     []bool         // families whose forwarding this agent switched on; true is IPv4
}

// Objects plans the node. An error names hostPorts that cannot be; the objects
// beside it hold all others.
func Objects(n Node) ([]datapath.Object, error) {
	p := &plan{Node: n, objects: datapath.BaseChains()}
	p.tunnel()
	p.antispoof()
	p.clamp()
	p.guard()
	for _, f := range families {
		p.masquerade(f)
		p.tailnet(f)
		p.hostPorts(f)
	}
	err := p.forwards()
	return p.objects, err
}

// plan is one call of Objects.
type plan struct {
	Node
	objects []datapath.Object
}

// family is what differs between IPv4 and IPv6 in nft's words.
type family struct {
	is4          bool
	nfproto      string
	addr         string // type
	saddr, daddr datapath.Field
	pair         datapath.Field
	dnat         datapath.Verb
	dnatAddr     datapath.Verb
	suffix       string
	never        []netip.Prefix // destinations that are never masqueraded
	first        int            // offset of the family's rules in a shared chain, above any number of leases
}

// families in the order of their rules. Link-local and multicast addresses have
// a meaning on one link only (RFC 3927, RFC 4291 section 2.5.6, RFC 5771).
var families = []family{
	{
		is4: true, nfproto: "ipv4", addr: "ipv4_addr", suffix: "4",
		saddr: datapath.SAddr4, daddr: datapath.DAddr4, pair: datapath.Pair4,
		dnat: datapath.DNAT4, dnatAddr: datapath.DNAT4Addr,
		never: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4")},
	},
	{
		is4: false, nfproto: "ipv6", addr: "ipv6_addr", suffix: "6", first: 5000,
		saddr: datapath.SAddr6, daddr: datapath.DAddr6, pair: datapath.Pair6,
		dnat: datapath.DNAT6, dnatAddr: datapath.DNAT6Addr,
		never: []netip.Prefix{netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8")},
	},
}

func (f family) has(p netip.Prefix) bool { return p.Addr().Is4() == f.is4 }

func (p *plan) add(objects ...datapath.Object) { p.objects = append(p.objects, objects...) }

// rules appends rules to a chain, in order from an index on.
func (p *plan) rules(chain string, index int, rules ...datapath.Rule) {
	for i, r := range rules {
		r.Chain, r.Index = chain, index+i
		p.add(r)
	}
}

// rule is a rule without its place.
func rule(comment string, do []datapath.Action, matches ...datapath.Match) datapath.Rule {
	r := datapath.Rule{Comment: comment}
	copy(r.Match[:], matches)
	copy(r.Do[:], do)
	return r
}

func is(field datapath.Field, value string) datapath.Match {
	return datapath.Match{Field: field, Value: value}
}

func do(verbs ...datapath.Verb) []datapath.Action {
	var out []datapath.Action
	for _, v := range verbs {
		out = append(out, datapath.Action{Verb: v})
	}
	return out
}

func with(verb datapath.Verb, arg string) []datapath.Action {
	return []datapath.Action{{Verb: verb, Arg: arg}}
}
