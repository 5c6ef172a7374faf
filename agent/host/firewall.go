package host

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
)

// dropped is one need that a firewall drops.
type dropped struct {
	filter datapath.Filter
	packet Packet
	at     Drop
}

// drops walks all needs through all firewalls.
func drops(n Node, f Facts) []dropped {
	var out []dropped
	for _, p := range Needs(n) {
		for _, filter := range f.Filters {
			if at, ok := Walk(filter, p); ok {
				out = append(out, dropped{filter, p, at})
			}
		}
	}
	return out
}

// firewalls says which tool drops what, once for both families.
func firewalls(n Node, f Facts) []Finding {
	type key struct{ tool, what string }
	var order []key
	groups := map[key][]dropped{}
	for _, d := range drops(n, f) {
		k := key{toolOf(d.filter, d.packet).name, d.packet.What}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], d)
	}
	var out []Finding
	for _, k := range order {
		d := groups[k][0]
		t := toolOf(d.filter, d.packet)
		who := cmp.Or(t.name, "a firewall")
		remedy := strings.Join(t.mend(n, groups[k]), "; ")
		if t.opens && !n.IntegrateFirewall {
			remedy = "weft-agent --integrate-firewall, or: " + remedy
		}
		out = append(out, Finding{
			Severity: n.severity(k.what), Subject: cmp.Or(t.name, "firewall"),
			Cause: fmt.Sprintf("%s drops %s (%s)", who, k.what, places(groups[k])), Remedy: remedy,
		})
	}
	return append(out, mixed(f)...)
}

// places are where they end: "table ip filter, chain FORWARD, policy drop".
func places(ds []dropped) string {
	var out []string
	for _, d := range ds {
		where := fmt.Sprintf("table %s %s, chain %s, ", d.filter.Family, d.filter.Table, d.at.Chain)
		if d.filter.Legacy {
			where = fmt.Sprintf("%s, chain %s, ", legacyCommand(d.filter.Family), d.at.Chain)
		}
		switch r := d.at.Rule; {
		case r == nil:
			where += "policy drop"
		case d.filter.Legacy:
			where += fmt.Sprintf("rule %d: %s", r.Handle, r)
		default:
			where += fmt.Sprintf("rule handle %d: %s", r.Handle, r)
		}
		if !slices.Contains(out, where) {
			out = append(out, where)
		}
	}
	const most = 2
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return strings.Join(out, "; ")
}

// mixed tells of both kinds of iptables on one host: each lists only its own
// rules, so a person looks at half of them.
func mixed(f Facts) []Finding {
	legacy, modern := false, false
	for _, t := range f.Filters {
		rules := slices.ContainsFunc(t.Chains, func(c datapath.FilterChain) bool { return len(c.Rules) > 0 || c.Drop })
		legacy = legacy || t.Legacy && rules
		modern = modern || !t.Legacy && rules && t.Table == "filter" && t.Family != "inet"
	}
	if !legacy || !modern {
		return nil
	}
	return []Finding{{
		Severity: Note, Subject: "iptables", Cause: "iptables-legacy and iptables-nft both have rules; each lists only its own",
		Remedy: "iptables-legacy -S; iptables-nft -S",
	}}
}

func legacyCommand(family string) string {
	if family == "ip6" {
		return "ip6tables-legacy"
	}
	return "iptables-legacy"
}

func sortBySeverity(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
}
