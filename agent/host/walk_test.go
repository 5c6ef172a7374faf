package host_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/proto/intent"
)

// parseFilter reads a firewall as people write it: "chain NAME hook HOOK policy P"
// begins a chain, every other line is a rule of matches and a verdict.
func parseFilter(t *testing.T, family, table, text string) datapath.Filter {
	t.Helper()
	f := datapath.Filter{Family: family, Table: table}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		w := strings.Fields(line)
		if w[0] == "chain" {
			c := datapath.FilterChain{Name: w[1]}
			if len(w) > 2 {
				c.Hook, c.Drop = w[2], w[3] == "drop"
			}
			f.Chains = append(f.Chains, c)
			continue
		}
		c := &f.Chains[len(f.Chains)-1]
		c.Rules = append(c.Rules, parseRule(t, w, uint64(len(c.Rules)+1)))
	}
	return f
}

func parseRule(t *testing.T, w []string, handle uint64) datapath.FilterRule {
	t.Helper()
	r := datapath.FilterRule{Handle: handle}
	for len(w) > 0 {
		switch w[0] {
		case "accept", "drop", "reject", "return", "jump", "goto":
			r.Verdict = strings.Join(w, " ")
			return r
		case "ct", "icmp":
			w = append([]string{w[0] + " " + w[1]}, w[2:]...)
		case "?":
			r.Match = append(r.Match, datapath.FilterMatch{Field: "?"})
			w = w[1:]
			continue
		}
		m := datapath.FilterMatch{Field: w[0]}
		if w = w[1:]; w[0] == "!=" {
			m.Not, w = true, w[1:]
		}
		m.Values, w = strings.Split(w[0], ","), w[1:]
		r.Match = append(r.Match, m)
	}
	return r
}

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
	node = host.Node{
		Cluster: intent.Cluster{
			CIDRs: []netip.Prefix{pfx("10.42.0.0/16"), pfx("fd42:42::/48")}, Backend: intent.VXLAN, VXLANPort: 8472, VNI: 4096,
		},
		Lease:    []netip.Prefix{pfx("10.42.1.0/24"), pfx("fd42:42:0:1::/64")},
		Underlay: []intent.Underlay{{Addr: pfx("192.0.2.1/24"), Device: "eth0", MTU: 1500}},
		Peers:    []netip.Addr{addr("192.0.2.2")},
	}
)

func TestWalk(t *testing.T) {
	pod := host.Packet{Hook: "forward", In: "wf00000000000", Out: "weft-vx", Src: addr("10.42.1.1"), Dst: addr("10.42.2.1"), Proto: "tcp", Port: 39871}
	for _, c := range []struct{ what, family, rules, ends string }{
		{"no rule, policy accept", "ip", "chain F forward accept", ""},
		{"policy drop", "ip", "chain F forward drop", "F policy"},
		{"another hook", "ip", "chain I input drop", ""},
		{"the other family", "ip6", "chain F forward drop", ""},
		{"both families", "inet", "chain F forward drop", "F policy"},
		{"accepted before the policy", "ip", "chain F forward drop\niifname wf* accept", ""},
		{"accepted by name, not by another's", "ip", "chain F forward drop\niifname docker0 accept", "F policy"},
		{"not a device", "ip", "chain F forward accept\niifname != docker0 drop", "F 1"},
		{"a new flow is not established", "ip", "chain F forward drop\nct state established,related accept", "F policy"},
		{"a new flow", "ip", "chain F forward drop\nct state new accept", ""},
		{"what is not read does not drop", "ip", "chain F forward accept\n? drop", ""},
		{"what is not read does not accept", "ip", "chain F forward drop\n? accept", "F policy"},
		{"jump and return", "ip", "chain F forward drop\njump U\nchain U\nreturn", "F policy"},
		{"jump to an accept", "ip", "chain F forward drop\njump U\nchain U\nsaddr 10.42.0.0/16 accept", ""},
		{"goto ends the chain", "ip", "chain F forward drop\ngoto U\naccept\nchain U\nsaddr 10.9.0.0/16 accept", "F policy"},
		{"reject in a chain", "ip", "chain F forward accept\njump U\nchain U\ndaddr 10.42.2.0-10.42.2.9 reject", "U 1"},
		{"a loop ends", "ip", "chain F forward accept\njump F", ""},
		{"ports", "ip", "chain F forward accept\nl4proto tcp dport 39000-40000 drop", "F 1"},
		{"other ports", "ip", "chain F forward accept\nl4proto tcp dport 22,80 drop", ""},
		{"an accept ends one base chain only", "ip", "chain F forward accept\naccept\nchain G forward drop", "G policy"},
		{"messages of ICMP do not come to TCP's ports", "ip", "chain F forward drop\nl4proto icmp icmp type 8 accept", "F policy"},
		{"not translated", "ip", "chain F forward drop\nct status dnat accept", "F policy"},
	} {
		at, dropped := host.Walk(parseFilter(t, c.family, "t", c.rules), pod)
		got := ""
		if dropped {
			got = at.Chain + " policy"
			if at.Rule != nil {
				got = fmt.Sprintf("%s %d", at.Chain, at.Rule.Handle)
			}
		}
		if got != c.ends {
			t.Errorf("%s: the packet ends at %q, want %q", c.what, got, c.ends)
		}
	}
}

// TestFirewallsOfMesh: what pairs need that choose their way is named as well. Where
// they meet without it, by a worse way, it is a warning; where the cluster may not need
// it, a note.
func TestFirewallsOfMesh(t *testing.T) {
	chooses := node
	chooses.Cluster.Backend, chooses.Cluster.Encryption = intent.Auto, intent.EncryptUntrusted
	chooses.Mesh = host.Mesh{
		Slots: []intent.Slot{{Slot: 0, Port: 51820}, {Slot: 1, Port: 51821}}, Relay: true,
		Echo: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.9:7443"), netip.MustParseAddrPort("203.0.113.9:7444")},
	}
	clear, server, before, keyed := chooses, chooses, node, chooses
	keyed.Cluster.PostQuantum = true
	clear.Mesh.Clear = true
	server.Mesh.Echo = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7443")}
	before.Mesh.Slots = chooses.Mesh.Slots
	const in = "chain in input drop\niifname wf* accept\n"
	for _, c := range []struct {
		what        string
		node        host.Node
		rules, want string
	}{
		{
			"WireGuard's ports", chooses, in + "iifname weft* accept",
			"warning a firewall drops WireGuard from peers (table inet mine, chain in, policy drop): nft insert rule inet mine in iifname eth0 udp dport 51820 accept; nft insert rule inet mine in iifname eth0 udp dport 51821 accept",
		},
		{"opened by another's words", chooses, in + "iifname weft* accept\nl4proto udp dport 51820-51821 accept", ""},
		{
			"probes, and what is relayed", chooses, in + "l4proto udp dport 51820,51821 accept",
			"fault a firewall drops what peers send to this node through WireGuard (table inet mine, chain in, policy drop): nft insert rule inet mine in iifname \"weft*\" accept",
		},
		{"probes pass, and what is relayed", chooses, in + "l4proto udp dport 51820,51821,7449 accept\nl4proto icmp icmp type 8 accept", ""},
		{
			"probes only", chooses, in + "l4proto udp dport 51820,51821 accept\nl4proto icmp icmp type 8 accept",
			"fault a firewall drops what peers send to this node through WireGuard (table inet mine, chain in, policy drop): nft insert rule inet mine in iifname \"weft*\" accept",
		},
		{
			"agents agree on no pre-shared keys", keyed, in + "l4proto udp dport 51820,51821,7449 accept\nl4proto icmp icmp type 8 accept",
			"fault a firewall drops what peers send to this node through WireGuard (table inet mine, chain in, policy drop): nft insert rule inet mine in iifname \"weft*\" accept",
		},
		{
			"nor what this node says for it", keyed, "chain out output accept\noifname weft-wg0 l4proto udp dport 7448 drop",
			"fault a firewall drops what this node sends to peers through WireGuard (table inet mine, chain out, rule handle 1: oifname weft-wg0 l4proto udp dport 7448 drop): nft insert rule inet mine out oifname \"weft*\" accept",
		},
		{"they do", keyed, in + "l4proto udp dport 51820,51821,7448,7449 accept\nl4proto icmp icmp type 8 accept", ""},
		{
			"VXLAN inside of a site", clear, in + "iifname weft* accept\nl4proto udp dport 51820,51821 accept",
			"warning a firewall drops the fabric's VXLAN from peers (table inet mine, chain in, policy drop): nft insert rule inet mine in iifname eth0 udp dport 8472 accept",
		},
		{
			"the echo", chooses, "chain out output accept\nl4proto udp dport 7443 drop",
			"warning a firewall drops questions to the servers' echo (table inet mine, chain out, rule handle 1: l4proto udp dport 7443 drop): nft insert rule inet mine out oifname eth0 udp dport 7443 accept",
		},
		{
			"the echo of a server here", server, in + "iifname weft* accept\nl4proto udp dport 51820,51821 accept",
			"warning a firewall drops nodes' questions to the echo of the server here (table inet mine, chain in, policy drop): nft insert rule inet mine in iifname eth0 udp dport 7443 accept",
		},
		{
			"to peers", chooses, "chain out output accept\nl4proto udp dport 51820-51821 drop",
			"warning a firewall drops WireGuard to peers (table inet mine, chain out, rule handle 1: l4proto udp dport 51820-51821 drop): nft insert rule inet mine out oifname eth0 udp dport 51820 accept; nft insert rule inet mine out oifname eth0 udp dport 51821 accept",
		},
		{
			"forwarded into the tunnel", chooses, "chain f forward accept\noifname weft-wg1 drop",
			"fault a firewall drops forwarded pod traffic (table inet mine, chain f, rule handle 1: oifname weft-wg1 drop): nft insert rule inet mine f iifname \"wf*\" accept; nft insert rule inet mine f oifname \"wf*\" accept",
		},
		{
			"before it has joined", before, in + "iifname weft* accept\nl4proto udp dport 8472 accept",
			"note a firewall drops WireGuard from peers (table inet mine, chain in, policy drop): nft insert rule inet mine in iifname eth0 udp dport 51820 accept; nft insert rule inet mine in iifname eth0 udp dport 51821 accept",
		},
	} {
		var got []string
		for _, f := range host.Findings(c.node, host.Facts{Filters: []datapath.Filter{parseFilter(t, "inet", "mine", c.rules)}}) {
			got = append(got, fmt.Sprintf("%v %s: %s", f.Severity, f.Cause, f.Remedy))
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.what, s, c.want)
		}
	}
}

// TestFirewalls: who drops what, and the command.
func TestFirewalls(t *testing.T) {
	for _, c := range []struct{ what, family, table, rules, want string }{
		{"nobody", "ip", "filter", "chain INPUT input accept\nchain FORWARD forward accept", ""},
		{
			"Docker", "ip", "filter", "chain FORWARD forward drop\njump DOCKER-USER\nchain DOCKER-USER\nreturn",
			"Docker drops forwarded pod traffic (table ip filter, chain FORWARD, policy drop): weft-agent --integrate-firewall, or: iptables -I DOCKER-USER -i 'wf+' -j ACCEPT; iptables -I DOCKER-USER -o 'wf+' -j ACCEPT",
		},
		{
			"Docker, opened", "ip", "filter", "chain FORWARD forward drop\njump DOCKER-USER\nchain DOCKER-USER\niifname wf* accept\noifname wf* accept", "",
		},
		{
			"ufw", "ip", "filter", "chain INPUT input drop\njump ufw-user-input\nchain ufw-user-input\nl4proto udp dport 8472 accept",
			"ufw drops what pods send to this node (table ip filter, chain INPUT, policy drop): weft-agent --integrate-firewall, or: ufw allow in on wf+",
		},
		{
			"somebody", "inet", "mine", "chain in input drop\niifname lo accept\niifname wf* accept",
			"a firewall drops the fabric's VXLAN from peers (table inet mine, chain in, policy drop): nft insert rule inet mine in iifname eth0 udp dport 8472 accept",
		},
		{
			"a rule", "ip", "filter", "chain FORWARD forward accept\noifname wf* reject",
			"a firewall drops forwarded pod traffic (table ip filter, chain FORWARD, rule handle 1: oifname wf* reject): iptables -I FORWARD -i 'wf+' -j ACCEPT; iptables -I FORWARD -o 'wf+' -j ACCEPT",
		},
	} {
		var got []string
		for _, f := range host.Findings(node, host.Facts{Filters: []datapath.Filter{parseFilter(t, c.family, c.table, c.rules)}}) {
			got = append(got, f.Cause+": "+f.Remedy)
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.what, s, c.want)
		}
	}
}
