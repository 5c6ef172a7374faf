package kernel_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// show writes firewalls as a person would list them, without handles.
func show(fs []datapath.Filter) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "table %s %s", f.Family, f.Table)
		if f.Legacy {
			b.WriteString(" legacy")
		}
		b.WriteString("\n")
		for _, c := range f.Chains {
			fmt.Fprintf(&b, "chain %s %s drop=%v\n", c.Name, c.Hook, c.Drop)
			for _, r := range c.Rules {
				fmt.Fprintf(&b, "  %s\n", r)
			}
		}
	}
	return b.String()
}

// filtersAfter is what is seen once commands have run in a namespace.
func filtersAfter(t *testing.T, commands ...string) string {
	t.Helper()
	kerneltest.Netns(t)
	for _, c := range commands {
		kerneltest.Run(t, c)
	}
	k, err := kernel.Open(slog.New(slog.DiscardHandler), kernel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	fs, err := k.Filters(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return show(fs)
}

// TestFiltersNft: rules that nft writes are read as they were written.
func TestFiltersNft(t *testing.T) {
	got := filtersAfter(
		t,
		"nft add table inet mine",
		"nft add chain inet mine in { type filter hook input priority 0 ; policy drop ; }",
		"nft add chain inet mine sub",
		"nft add chain inet mine unreached",
		"nft add chain inet mine through { type filter hook forward priority 0 ; }",
		"nft add rule inet mine in ct state vmap { established : accept, invalid : drop }",
		"nft add rule inet mine in ct state established,related accept",
		"nft add rule inet mine in iifname lo accept",
		"nft add rule inet mine in iifname { eth0, eth1 } jump sub",
		"nft add rule inet mine sub ip saddr 10.0.0.0/8 udp dport 8472 counter accept",
		"nft add rule inet mine sub ip6 daddr != 2001:db8::1 tcp dport { 22, 80-90 } reject",
		"nft add rule inet mine sub fib daddr type local return",
		"nft add rule inet mine sub icmp type echo-request accept",
		"nft add rule inet mine sub icmpv6 type { echo-request, nd-neighbor-solicit } accept",
		"nft add rule inet mine sub limit rate 3/minute drop",
		"nft add rule inet mine through oifname wf* goto sub",
		"nft add rule inet mine through tcp dport 1000-2000 meta mark set 0x10 drop",
		"nft add table inet weft",
		"nft add chain inet weft f { type filter hook forward priority 0 ; policy drop ; }",
		"nft add table ip translate",
		"nft add chain ip translate post { type nat hook postrouting priority 0 ; }",
	)
	const want = `table inet mine
chain in input drop=true
  ct state invalid drop
  ct state established accept
  ct state established, related accept
  iifname lo accept
  iifname { eth0, eth1 } jump sub
chain through forward drop=false
  oifname wf* goto sub
  l4proto tcp dport 1000-2000 drop
chain sub  drop=false
  nfproto ipv4 saddr 10.0.0.0/8 l4proto udp dport 8472 accept
  nfproto ipv6 daddr != 2001:db8::1 l4proto tcp dport { 22-22, 80-90 } reject
  daddr type local return
  nfproto ipv4 l4proto icmp icmp type 8 accept
  nfproto ipv6 l4proto ipv6-icmp icmp type { 128, 135 } accept
  (…) drop
`
	if diff := cmp.Diff(want, strings.ReplaceAll(got, "ct state { established, related }", "ct state established, related")); diff != "" {
		t.Error(diff)
	}
}

// TestFiltersIptables: both kinds of iptables say the same of the same rules.
func TestFiltersIptables(t *testing.T) {
	for _, kind := range []string{"nft", "legacy"} {
		t.Run(kind, func(t *testing.T) {
			var commands []string
			for _, c := range []string{
				"-P FORWARD DROP", "-N own", "-A FORWARD -j own",
				"-A own -i wf+ -j ACCEPT", "-A own ! -o eth0 -s 10.42.0.0/16 -j ACCEPT",
				"-A own -m conntrack --ctstate NEW -p udp --dport 8472 -j ACCEPT",
				"-A own -p tcp --dport 1:1023 -j REJECT",
				"-A own -p icmp --icmp-type echo-request -j ACCEPT", "-A own -p icmp -j ACCEPT",
				"-A own -m addrtype --dst-type LOCAL -j RETURN",
				"-A own -m limit --limit 3/min -j LOG",
				"-A own -m comment --comment words -g INPUT2",
			} {
				if strings.HasSuffix(c, "INPUT2") {
					commands = append(commands, "iptables-"+kind+" -w 30 -N INPUT2")
				}
				commands = append(commands, "iptables-"+kind+" -w 30 "+c)
			}
			got := filtersAfter(t, commands...)
			_, got, _ = strings.Cut(got, "chain own  drop=false\n")
			got, _, _ = strings.Cut(got, "chain ")
			const want = `  iifname wf* accept
  saddr 10.42.0.0/16 oifname != eth0 accept
  l4proto udp ct state new dport 8472 accept
  l4proto tcp dport 1-1023 reject
  l4proto icmp icmp type 8 accept
  l4proto icmp accept
  daddr type local return
  (…)
  goto INPUT2 comment "words"
`
			if diff := cmp.Diff(want, arranged(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// arranged forgets the order in which the two kinds compare.
func arranged(s string) string {
	for from, to := range map[string]string{
		"oifname != eth0 saddr 10.42.0.0/16":  "saddr 10.42.0.0/16 oifname != eth0",
		"l4proto udp dport 8472 ct state new": "l4proto udp ct state new dport 8472",
	} {
		s = strings.ReplaceAll(s, from, to)
	}
	return s
}

// TestOpening: a rule of ours in another's chain is seen, reads as iptables would
// write it, and goes again.
func TestOpening(t *testing.T) {
	kerneltest.Netns(t)
	kerneltest.Run(t, "iptables-nft -N DOCKER-USER")
	kerneltest.Run(t, "iptables-nft -A FORWARD -j DOCKER-USER")
	k, err := kernel.Open(slog.New(slog.DiscardHandler), kernel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	r := datapath.Rule{Chain: "DOCKER-USER", Comment: "ours"}
	r.Match[0] = datapath.Match{Field: datapath.IIfName, Value: "wf*"}
	r.Match[1] = datapath.Match{Field: datapath.UDPDPort, Value: "8472"}
	r.Do[0], r.Do[1] = datapath.Action{Verb: datapath.Counter}, datapath.Action{Verb: datapath.Accept}
	if err := k.Insert("ip", "filter", r); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "iptables-nft -C DOCKER-USER -i wf+ -p udp --dport 8472 -m comment --comment ours -j ACCEPT")
	fs, err := k.Filters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, _ := fs[0].Chain("DOCKER-USER")
	if len(c.Rules) != 1 || c.Rules[0].String() != `iifname wf* l4proto udp dport 8472 accept comment "ours"` {
		t.Fatal(c.Rules)
	}
	for range 2 { // what is gone is success
		if err := k.Withdraw("ip", "filter", "DOCKER-USER", c.Rules[0].Handle); err != nil {
			t.Error(err)
		}
	}
	if err := k.Insert("ip", "filter", datapath.Rule{Chain: "none"}); err == nil {
		t.Error("a rule in no chain is no error")
	}
}
