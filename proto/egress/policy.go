package egress

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/label"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

// RoleLocal is the role of who comes over a unix socket of a server's own host: a
// kube-apiserver. The other roles are those of users who may dial.
const RoleLocal = "local"

// Roles are those that a policy can name.
func Roles() []string { return []string{RoleLocal, "dialer", "operator", "admin"} }

// MaxRules bounds each list of a policy.
const MaxRules = 1024

// Policy is an EgressPolicy as both sides evaluate it.
type Policy struct {
	Name     string
	Nodes    []string       // names
	Selector label.Selector // of nodes' labels; a node that Nodes or Selector picks is meant, with neither all
	Users    []string
	Roles    []string // who asks; with neither Users nor Roles everybody
	Only     bool     // what is permitted without a policy is not, for who asks
	Allow    []Rule
	Deny     []Rule // wins over whatever allows
}

// Means tells whether the policy is of a node.
func (p Policy) Means(node string, labels map[string]string) bool {
	if len(p.Nodes) == 0 && len(p.Selector) == 0 {
		return true
	}
	return slices.Contains(p.Nodes, node) || len(p.Selector) > 0 && p.Selector.Matches(labels)
}

// asks tells whether the policy is of who asks.
func (p Policy) asks(by Asker) bool {
	if len(p.Users) == 0 && len(p.Roles) == 0 {
		return true
	}
	return slices.Contains(p.Users, by.User) && by.User != "" || slices.Contains(p.Roles, by.Role) && by.Role != ""
}

// String is the policy on a line, for comparing what two sides hold.
func (p Policy) String() string {
	words := []string{p.Name}
	add := func(what string, list []string) {
		if len(list) > 0 {
			words = append(words, what+" "+strings.Join(list, ","))
		}
	}
	add("nodes", p.Nodes)
	if len(p.Selector) > 0 {
		words = append(words, "nodes with "+p.Selector.String())
	}
	add("users", p.Users)
	add("roles", p.Roles)
	if p.Only {
		words = append(words, "only what is listed")
	}
	for _, r := range p.Allow {
		words = append(words, "allow "+r.String())
	}
	for _, r := range p.Deny {
		words = append(words, "deny "+r.String())
	}
	return strings.Join(words, "; ")
}

// Of lists the policies of a node, by name.
func Of(all []Policy, node string, labels map[string]string) []Policy {
	var out []Policy
	for _, p := range all {
		if p.Means(node, labels) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Encode is the wire form of a Policy, the same bytes for equal values; nil of one
// whose texts are not UTF-8, which DecodePolicy refuses.
func (p Policy) Encode() []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&weftv1.EgressIntent{
		Name: p.Name, Nodes: p.Nodes, NodeSelector: p.Selector.String(), Users: p.Users, Roles: p.Roles, OnlyListed: p.Only,
		Allow: encodeRules(p.Allow), Deny: encodeRules(p.Deny),
	})
	if err != nil {
		return nil
	}
	return b
}

// DecodePolicy reads what Encode writes.
func DecodePolicy(b []byte) (Policy, error) {
	var m weftv1.EgressIntent
	if err := proto.Unmarshal(b, &m); err != nil {
		return Policy{}, fmt.Errorf("not an EgressIntent: %w", err)
	}
	p := Policy{Name: m.Name, Nodes: m.Nodes, Users: m.Users, Roles: m.Roles, Only: m.OnlyListed}
	if m.Name == "" || len(m.Name) > maxHost {
		return Policy{}, fmt.Errorf("name of %d bytes: 1 to %d", len(m.Name), maxHost)
	}
	for field, n := range map[string]int{"nodes": len(m.Nodes), "users": len(m.Users), "roles": len(m.Roles), "allow": len(m.Allow), "deny": len(m.Deny)} {
		if n > MaxRules {
			return Policy{}, fmt.Errorf("%s: %d entries; at most %d", field, n, MaxRules)
		}
	}
	var errs [3]error
	p.Selector, errs[0] = label.ParseSelector(m.NodeSelector)
	p.Allow, errs[1] = decodeRules("allow", m.Allow)
	p.Deny, errs[2] = decodeRules("deny", m.Deny)
	return p, cmp.Or(errs[:]...)
}

func encodeRules(in []Rule) []*weftv1.EgressRule {
	var out []*weftv1.EgressRule
	for _, r := range in {
		m := &weftv1.EgressRule{Host: r.Host}
		if r.Prefix.IsValid() {
			m.Cidr = r.Prefix.String()
		}
		for _, p := range r.Ports {
			m.Ports = append(m.Ports, &weftv1.PortRange{First: uint32(p.First), Last: uint32(p.Last)})
		}
		out = append(out, m)
	}
	return out
}

func decodeRules(field string, in []*weftv1.EgressRule) ([]Rule, error) {
	var out []Rule
	for i, m := range in {
		r, err := decodeRule(m)
		if err == nil {
			_, err = r.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func decodeRule(m *weftv1.EgressRule) (Rule, error) {
	r := Rule{Host: m.GetHost()}
	if m.GetCidr() != "" {
		var err error
		if r.Prefix, err = netip.ParsePrefix(m.GetCidr()); err != nil {
			return Rule{}, fmt.Errorf("cidr %.60q is not a prefix", m.GetCidr())
		}
	}
	if len(m.GetPorts()) > MaxRules {
		return Rule{}, fmt.Errorf("%d ports: at most %d", len(m.GetPorts()), MaxRules)
	}
	for _, p := range m.GetPorts() {
		if p.GetFirst() > 65535 || p.GetLast() > 65535 {
			return Rule{}, errors.New("a port past 65535")
		}
		r.Ports = append(r.Ports, Ports{uint16(p.GetFirst()), uint16(p.GetLast())})
	}
	return r, nil
}
