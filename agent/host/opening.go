package host

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/weft-net/weft/agent/datapath"
)

// OpeningMark is the comment of rules that weft puts into a tool's own chain.
const OpeningMark = "weft --integrate-firewall"

// Opening is one accepting rule in a chain that a tool keeps for its operator.
type Opening struct {
	Family, Table, Chain string
	Match                datapath.Match // a device
	Port                 string         // UDP, of the fabric; empty: all
}

// Rule is the opening as package kernel programs it.
func (o Opening) Rule() datapath.Rule {
	r := datapath.Rule{Chain: o.Chain, Comment: OpeningMark}
	r.Match[0] = o.Match
	if o.Port != "" {
		r.Match[1] = datapath.Match{Field: datapath.UDPDPort, Value: o.Port}
	}
	r.Do[0], r.Do[1] = datapath.Action{Verb: datapath.Counter}, datapath.Action{Verb: datapath.Accept}
	return r
}

// own are the chains that Docker and ufw keep for others' rules, by whom they are
// asked: Docker's from FORWARD, ufw's from its hooks.
var own = []struct{ family, forward, input string }{
	{"ip", dockerUser, ""},
	{"ip6", dockerUser, ""},
	{"ip", "ufw-user-forward", "ufw-user-input"},
	{"ip6", "ufw6-user-forward", "ufw6-user-input"},
}

// Openings lists the rules that a node's firewalls of others should hold. They
// stand in every tool that could drop, whether it does now or not: else an opening
// that works would take away the reason for which it is there.
func Openings(n Node, filters []datapath.Filter) []Opening {
	if !n.IntegrateFirewall {
		return nil
	}
	var out []Opening
	for _, f := range filters {
		if f.Legacy || f.Table != "filter" {
			continue
		}
		for _, o := range own {
			if o.family == f.Family {
				out = append(out, n.openings(f, o.forward, o.input)...)
			}
		}
	}
	return out
}

func (n Node) openings(f datapath.Filter, forward, input string) []Opening {
	var out []Opening
	pods := datapath.PodPrefix + "*"
	add := func(chain string, field datapath.Field, dev, port string) {
		out = append(out, Opening{f.Family, f.Table, chain, datapath.Match{Field: field, Value: dev}, port})
	}
	if _, ok := f.Chain(forward); ok {
		add(forward, datapath.IIfName, pods, "")
		add(forward, datapath.OIfName, pods, "")
	}
	if _, ok := f.Chain(input); !ok || input == "" {
		return out
	}
	add(input, datapath.IIfName, pods, "")
	for _, u := range n.Underlay {
		if u.Addr.Addr().Is4() != (f.Family == "ip") {
			continue
		}
		if n.clear() && n.Cluster.VXLANPort != 0 {
			add(input, datapath.IIfName, u.Device, strconv.Itoa(int(n.Cluster.VXLANPort)))
		}
		for _, s := range n.Mesh.Slots {
			add(input, datapath.IIfName, u.Device, strconv.Itoa(int(s.Port)))
		}
	}
	if len(n.Mesh.Slots) > 0 {
		add(input, datapath.IIfName, datapath.OwnPrefix+"*", "")
	}
	return out
}

// AsksFirewalld tells whether firewalld drops what the fabric needs. Its openings are
// asked for over D-Bus; what it then lets pass needs no second question.
func AsksFirewalld(n Node, f Facts) bool {
	return n.IntegrateFirewall && slices.ContainsFunc(drops(n, f), func(d dropped) bool { return d.filter.Table == FirewalldOwn })
}

// Compare tells the openings that have no rule, and the rules of ours in others
// chains that no opening asks for.
func Compare(want []Opening, filters []datapath.Filter) (missing []Opening, stale []PlacedOpening) {
	missing = slices.Clone(want)
	for _, f := range filters {
		for _, c := range f.Chains {
			for _, r := range c.Rules {
				if r.Comment != OpeningMark || f.Legacy {
					continue
				}
				i := slices.IndexFunc(missing, func(o Opening) bool {
					return o.Family == f.Family && o.Table == f.Table && o.Chain == c.Name && sameRule(o, r)
				})
				if i < 0 {
					stale = append(stale, PlacedOpening{f.Family, f.Table, c.Name, r.Handle})
					continue
				}
				missing = slices.Delete(missing, i, i+1)
			}
		}
	}
	return missing, stale
}

// String is the rule as nft writes it.
func (o Opening) String() string {
	return fmt.Sprintf("rule %s %s %s", o.Family, o.Table, o.Rule())
}

// String names the rule.
func (p PlacedOpening) String() string {
	return fmt.Sprintf("rule %s %s %s handle %d", p.Family, p.Table, p.Chain, p.Handle)
}

// PlacedOpening is a rule of ours where it stands.
type PlacedOpening struct {
	Family, Table, Chain string
	Handle               uint64
}

// sameRule tells whether a rule that was read is an opening.
func sameRule(o Opening, r datapath.FilterRule) bool {
	want := datapath.FilterRule{Verdict: string(datapath.Accept), Comment: OpeningMark}
	want.Match = []datapath.FilterMatch{{Field: string(o.Match.Field), Values: []string{o.Match.Value}}}
	if o.Port != "" {
		want.Match = append(want.Match,
			datapath.FilterMatch{Field: "l4proto", Values: []string{"udp"}}, datapath.FilterMatch{Field: "dport", Values: []string{o.Port}})
	}
	return want.String() == r.String()
}
