package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
)

// tool is somebody whose firewall it is.
type tool struct {
	name  string // empty: unknown
	opens bool   // it has an opening that weft can use
	mend  func(Node, []dropped) []string
}

// Names of tools, and of the chains that are theirs.
const (
	docker       = "Docker"
	dockerUser   = "DOCKER-USER"
	ufw          = "ufw"
	firewalld    = "firewalld"
	podsPattern  = datapath.PodPrefix + "+"
	weftPattern  = datapath.OwnPrefix + "+"
	trustedZone  = "trusted"
	FirewalldOwn = "firewalld" // its table
)

// OfFirewalld tells whether a table is firewalld's. Beside its own it has, while it
// reloads, one that keeps its policy: firewalld_policy_drop.
func OfFirewalld(table string) bool {
	return table == FirewalldOwn || strings.HasPrefix(table, FirewalldOwn+"_")
}

// toolOf tells whose chain it is that drops. Docker's opening is asked first,
// because it stands before what others append to chain FORWARD.
func toolOf(f datapath.Filter, p Packet) tool {
	has := func(prefix string) bool {
		return slices.ContainsFunc(f.Chains, func(c datapath.FilterChain) bool { return strings.HasPrefix(c.Name, prefix) })
	}
	switch {
	case OfFirewalld(f.Table):
		return tool{firewalld, true, mendFirewalld}
	case p.Hook == "forward" && has(dockerUser):
		return tool{docker, !f.Legacy, mendDocker}
	case has("ufw-"), has("ufw6-"):
		return tool{ufw, !f.Legacy, mendUFW}
	case f.Table == "filter" && f.Family != "inet":
		return tool{"", false, mendIptables}
	}
	return tool{"", false, mendNft}
}

// iptables is the command that writes a table.
func iptables(f datapath.Filter) string {
	switch {
	case f.Legacy:
		return legacyCommand(f.Family)
	case f.Family == "ip6":
		return "ip6tables"
	}
	return "iptables"
}

// passage is what has to be let pass: by a device, or all whose names begin alike,
// and to one UDP port where there is one.
type passage struct {
	in, out string // one of the two; a pattern ends in +, as iptables writes it
	port    uint16
}

// passages are what lets a packet pass, and its like.
func passages(p Packet) []passage {
	switch p.What {
	case podTraffic:
		return []passage{{in: podsPattern}, {out: podsPattern}}
	case podToNode:
		return []passage{{in: podsPattern}}
	case nodeToPod:
		return []passage{{out: podsPattern}}
	case insideFrom:
		return []passage{{in: weftPattern}}
	case insideTo:
		return []passage{{out: weftPattern}}
	}
	if p.Hook == "input" {
		return []passage{{in: p.In, port: p.Port}}
	}
	return []passage{{out: p.Out, port: p.Port}}
}

// perChain writes what lets pass all that is dropped, in the words of a tool, each
// once.
func perChain(ds []dropped, words func(d dropped, p passage) string) []string {
	var out []string
	for _, d := range ds {
		for _, p := range passages(d.packet) {
			if w := words(d, p); !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
	return out
}

func mendDocker(_ Node, ds []dropped) []string {
	return perChain(ds, func(d dropped, p passage) string {
		return fmt.Sprintf("%s -I %s %s -j ACCEPT", iptables(d.filter), dockerUser, p.iptables())
	})
}

// iptables is the passage as options of iptables.
func (p passage) iptables() string {
	flag, dev := "-i", p.in
	if dev == "" {
		flag, dev = "-o", p.out
	}
	if strings.HasSuffix(dev, "+") {
		dev = "'" + dev + "'"
	}
	if p.port == 0 {
		return flag + " " + dev
	}
	return fmt.Sprintf("%s %s -p udp --dport %d", flag, dev, p.port)
}

func mendUFW(_ Node, ds []dropped) []string {
	return perChain(ds, func(d dropped, p passage) string {
		verb := "ufw allow"
		if d.packet.Hook == "forward" {
			verb = "ufw route allow"
		}
		on := " in on " + p.in
		if p.in == "" {
			on = " out on " + p.out
		}
		if p.port != 0 {
			on += fmt.Sprintf(" to any port %d proto udp", p.port)
		}
		return verb + on
	})
}

func mendFirewalld(_ Node, ds []dropped) []string {
	devices := fmt.Sprintf("--zone=%s --add-interface='%s' --add-interface='%s'", trustedZone, podsPattern, weftPattern)
	var changes []string
	for _, d := range ds {
		change := devices
		if p := passages(d.packet)[0]; p.port != 0 {
			change = fmt.Sprintf("--add-port=%d/udp", p.port)
		}
		if !slices.Contains(changes, change) {
			changes = append(changes, change)
		}
	}
	return []string{fmt.Sprintf("firewall-cmd --permanent %s && firewall-cmd --reload", strings.Join(changes, " "))}
}

// mendIptables is for a host's own rules: before the one that drops.
func mendIptables(_ Node, ds []dropped) []string {
	return perChain(ds, func(d dropped, p passage) string {
		return fmt.Sprintf("%s -I %s %s -j ACCEPT", iptables(d.filter), d.at.Chain, p.iptables())
	})
}

func mendNft(_ Node, ds []dropped) []string {
	return perChain(ds, func(d dropped, p passage) string {
		match, dev := "iifname", p.in
		if dev == "" {
			match, dev = "oifname", p.out
		}
		if prefix, ok := strings.CutSuffix(dev, "+"); ok {
			dev = `"` + prefix + `*"`
		}
		if p.port != 0 {
			dev += fmt.Sprintf(" udp dport %d", p.port)
		}
		return fmt.Sprintf("nft insert rule %s %s %s %s %s accept", d.filter.Family, d.filter.Table, d.at.Chain, match, dev)
	})
}
