package kind

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/label"
	"github.com/weft-net/weft/proto/near"
)

// Bounds of EgressPolicySpec: each dial asks all policies of its node.
const (
	maxEgressRules = 256 // of allow, and of deny
	maxEgressPorts = 64  // of one rule
	maxSubjects    = 256
)

// EgressPolicySpec is what may be dialled through some nodes, by whom, beside what
// is permitted without it; and what may not.
type EgressPolicySpec struct {
	Nodes        []string     `json:"nodes,omitempty"`
	NodeSelector string       `json:"nodeSelector,omitempty"` // picks nodes by their labels, beside those named; neither: all
	Users        []string     `json:"users,omitempty"`
	Roles        []string     `json:"roles,omitempty"`      // beside the users; neither: everybody
	OnlyListed   bool         `json:"onlyListed,omitempty"` // nothing is permitted without a policy
	Allow        []EgressRule `json:"allow,omitempty"`
	Deny         []EgressRule `json:"deny,omitempty"` // wins
}

// EgressRule is some addresses or names, and some ports of them.
type EgressRule struct {
	CIDR  netip.Prefix   `json:"cidr,omitzero"`
	Host  string         `json:"host,omitempty"`
	Ports []egress.Ports `json:"ports,omitempty"` // none: all
}

// Policy is the spec as servers and agents evaluate it.
func (s EgressPolicySpec) Policy(name string) (egress.Policy, error) {
	selector, err := label.ParseSelector(s.NodeSelector)
	return egress.Policy{
		Name: name, Nodes: s.Nodes, Selector: selector, Users: s.Users, Roles: s.Roles, Only: s.OnlyListed,
		Allow: egressRules(s.Allow), Deny: egressRules(s.Deny),
	}, err
}

func egressRules(in []EgressRule) []egress.Rule {
	var out []egress.Rule
	for _, r := range in {
		out = append(out, r.rule())
	}
	return out
}

func (r EgressRule) rule() egress.Rule {
	return egress.Rule{Prefix: r.CIDR, Host: r.Host, Ports: r.Ports}
}

func (s EgressPolicySpec) validate(f *findings) {
	if len(s.Allow)+len(s.Deny) == 0 && !s.OnlyListed {
		f.add("spec", "says nothing; give allow, deny or onlyListed")
	}
	s.validateNodes(f)
	s.validateSubjects(f)
	for _, list := range []struct {
		field string
		rules []EgressRule
	}{{"spec.allow", s.Allow}, {"spec.deny", s.Deny}} {
		if len(list.rules) > maxEgressRules {
			f.add(list.field, "has %d rules; at most %d are accepted", len(list.rules), maxEgressRules)
			continue
		}
		for i, r := range list.rules {
			r.validate(f, fmt.Sprintf("%s[%d]", list.field, i), list.field == "spec.allow")
		}
	}
}

func (s EgressPolicySpec) validateNodes(f *findings) {
	if len(s.Nodes) > maxSubjects {
		f.add("spec.nodes", "has %d names; at most %d are accepted: pick nodes by a label, with nodeSelector", len(s.Nodes), maxSubjects)
		return
	}
	for i, n := range s.Nodes {
		if err := intent.ValidName(n); err != nil {
			f.add(fmt.Sprintf("spec.nodes[%d]", i), "%v", err)
		} else if slices.Contains(s.Nodes[:i], n) {
			f.add(fmt.Sprintf("spec.nodes[%d]", i), "%s is there twice", n)
		}
	}
	if _, err := label.ParseSelector(s.NodeSelector); err != nil {
		f.add("spec.nodeSelector", "%v", err)
	}
}

func (s EgressPolicySpec) validateSubjects(f *findings) {
	for _, list := range []struct {
		field string
		names []string
	}{{"spec.users", s.Users}, {"spec.roles", s.Roles}} {
		if len(list.names) > maxSubjects {
			f.add(list.field, "has %d names; at most %d are accepted", len(list.names), maxSubjects)
			return
		}
		for i, n := range list.names {
			switch field := fmt.Sprintf("%s[%d]", list.field, i); {
			case list.field == "spec.users" && intent.ValidName(n) != nil:
				f.add(field, "%v", intent.ValidName(n))
			case list.field == "spec.roles" && !slices.Contains(egress.Roles(), n):
				f.add(field, "%s is no role that dials%s; accepted: %s", quote(n), meant(n, egress.Roles()), strings.Join(egress.Roles(), ", "))
			case slices.Contains(list.names[:i], n):
				f.add(field, "%s is there twice", n)
			}
		}
	}
}

// meant suggests the likeliest of names.
func meant(n string, names []string) string {
	if m, ok := near.Name(n, names); ok {
		return "; did you mean " + m
	}
	return ""
}

func (r EgressRule) validate(f *findings, field string, allow bool) {
	if len(r.Ports) > maxEgressPorts {
		f.add(field+".ports", "has %d; at most %d are accepted: write ranges, such as 8000-8100", len(r.Ports), maxEgressPorts)
		return
	}
	rule := r.rule()
	if at, err := rule.Validate(); err != nil {
		f.add(field+"."+at, "%v", err)
		return
	}
	if what, is := egress.SpecialRange(r.CIDR); allow && r.Host == "" && is && !r.CIDR.IsSingleIP() {
		first := netip.PrefixFrom(r.CIDR.Addr(), r.CIDR.Addr().BitLen())
		f.add(field+".cidr", "%v opens nothing: it is %s, and such an address is dialled only where it is named itself; write those that are meant, such as %v", r.CIDR, what, first)
	}
}
