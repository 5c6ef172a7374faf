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
	weftPattern  = "weft+"
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

// each lists a family once.
func perTable(ds []dropped, words func(d dropped) []string) []string {
	var out []string
	var seen []string
	for _, d := range ds {
		id := iptables(d.filter) + d.filter.Table + d.at.Chain
		if !slices.Contains(seen, id) {
			seen = append(seen, id)
			for _, w := range words(d) {
				if !slices.Contains(out, w) {
					out = append(out, w)
				}
			}
		}
	}
	return out
}

func mendDocker(_ Node, ds []dropped) []string {
	return perTable(ds, func(d dropped) []string {
		cmd := iptables(d.filter)
		return []string{
			fmt.Sprintf("%s -I %s -i '%s' -j ACCEPT", cmd, dockerUser, podsPattern),
			fmt.Sprintf("%s -I %s -o '%s' -j ACCEPT", cmd, dockerUser, podsPattern),
		}
	})
}

func mendUFW(n Node, ds []dropped) []string {
	return perTable(ds, func(d dropped) []string {
		switch d.packet.What {
		case podTraffic:
			return []string{"ufw route allow in on " + podsPattern, "ufw route allow out on " + podsPattern}
		case peerTunnels:
			return []string{fmt.Sprintf("ufw allow in on %s to any port %d proto udp", d.packet.In, n.Cluster.VXLANPort)}
		case podToNode:
			return []string{"ufw allow in on " + podsPattern}
		case nodeToPeer:
			return []string{fmt.Sprintf("ufw allow out on %s to any port %d proto udp", d.packet.Out, n.Cluster.VXLANPort)}
		}
		return []string{"ufw allow out on " + podsPattern}
	})
}

func mendFirewalld(n Node, ds []dropped) []string {
	change := fmt.Sprintf("--zone=%s --add-interface='%s' --add-interface='%s'", trustedZone, podsPattern, weftPattern)
	if w := ds[0].packet.What; w == peerTunnels || w == nodeToPeer {
		change = fmt.Sprintf("--add-port=%d/udp", n.Cluster.VXLANPort)
	}
	return []string{fmt.Sprintf("firewall-cmd --permanent %s && firewall-cmd --reload", change)}
}

// mendIptables is for a host's own rules: before the one that drops.
func mendIptables(n Node, ds []dropped) []string {
	return perTable(ds, func(d dropped) []string {
		cmd, p := iptables(d.filter), d.packet
		switch p.What {
		case podTraffic:
			return []string{
				fmt.Sprintf("%s -I %s -i '%s' -j ACCEPT", cmd, d.at.Chain, podsPattern),
				fmt.Sprintf("%s -I %s -o '%s' -j ACCEPT", cmd, d.at.Chain, podsPattern),
			}
		case peerTunnels:
			return []string{fmt.Sprintf("%s -I %s -i %s -p udp --dport %d -j ACCEPT", cmd, d.at.Chain, p.In, p.Port)}
		case nodeToPeer:
			return []string{fmt.Sprintf("%s -I %s -o %s -p udp --dport %d -j ACCEPT", cmd, d.at.Chain, p.Out, p.Port)}
		case podToNode:
			return []string{fmt.Sprintf("%s -I %s -i '%s' -j ACCEPT", cmd, d.at.Chain, podsPattern)}
		}
		return []string{fmt.Sprintf("%s -I %s -o '%s' -j ACCEPT", cmd, d.at.Chain, podsPattern)}
	})
}

func mendNft(_ Node, ds []dropped) []string {
	return perTable(ds, func(d dropped) []string {
		p := d.packet
		insert := fmt.Sprintf("nft insert rule %s %s %s ", d.filter.Family, d.filter.Table, d.at.Chain)
		in, out := insert+`iifname "wf*" accept`, insert+`oifname "wf*" accept`
		switch p.What {
		case podTraffic:
			return []string{in, out}
		case peerTunnels:
			return []string{insert + fmt.Sprintf("iifname %s udp dport %d accept", p.In, p.Port)}
		case nodeToPeer:
			return []string{insert + fmt.Sprintf("oifname %s udp dport %d accept", p.Out, p.Port)}
		case podToNode:
			return []string{in}
		}
		return []string{out}
	})
}
