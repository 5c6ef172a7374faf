package kernel_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// everyRule holds each field and verb once; the sets that they name are in
// everySet.
func everyRule() []datapath.Object {
	type m = datapath.Match
	a := func(verb datapath.Verb, arg ...string) datapath.Action {
		return datapath.Action{Verb: verb, Arg: strings.Join(arg, "")}
	}
	accept, drop := a(datapath.Accept), a(datapath.Drop)
	var out []datapath.Object
	add := func(chain string, do datapath.Action, ms ...m) {
		r := datapath.Rule{Chain: chain, Index: 10 * len(out), Do: [3]datapath.Action{do}}
		copy(r.Match[:], ms)
		out = append(out, r)
	}
	for _, not := range []bool{false, true} {
		for _, x := range []m{
			{Field: datapath.IIfName, Value: "wf*"},
			{Field: datapath.OIfName, Value: "weft0"},
			{Field: datapath.SAddr4, Value: "10.42.0.0/16"},
			{Field: datapath.DAddr4, Value: "10.0.0.0/12"},
			{Field: datapath.SAddr4, Value: "@prefixes4"},
			{Field: datapath.DAddr4, Value: "10.42.1.5"},
			{Field: datapath.SAddr6, Value: "fd42::/48"},
			{Field: datapath.DAddr6, Value: "fd42::/45"},
			{Field: datapath.SAddr6, Value: "@prefixes6"},
			{Field: datapath.DAddr6, Value: "fd42::1"},
			{Field: datapath.CTState, Value: "invalid"},
			{Field: datapath.L4Proto, Value: "tcp"},
			{Field: datapath.L4Proto, Value: "ipv6-icmp"},
			{Field: datapath.NFProto, Value: "ipv4"},
			{Field: datapath.TCPFlags, Value: "syn"},
			{Field: datapath.DPort, Value: "8080"},
			{Field: datapath.UDPDPort, Value: "8472"},
			{Field: datapath.VNI, Value: "4096"},
			{Field: datapath.FibDAddr, Value: "local"},
			{Field: datapath.Mark, Value: "0x100/0xf00"},
			{Field: datapath.Mark, Value: "0x100"},
			{Field: datapath.CTMark, Value: "0x100000/0xff00000"},
			{Field: datapath.CTOrigDst4, Value: "10.0.0.1"},
			{Field: datapath.CTOrigDst6, Value: "fd00::1"},
			{Field: datapath.Pair4, Value: "@pairs4"},
			{Field: datapath.Pair6, Value: "@pairs6"},
		} {
			x.Not = not
			add("every", accept, x)
		}
	}
	add("every", accept, m{Field: datapath.CTState, Value: "established,related"})
	add("every", accept, m{Field: datapath.CTStatus, Value: "dnat"})
	add("every", drop, m{Field: datapath.NFProto, Value: "ipv4"}, m{Field: datapath.SAddr4, Value: "10.0.0.1"}, m{Field: datapath.DAddr4, Value: "10.0.0.2"})
	add(datapath.ChainSpoof, drop, m{Field: datapath.FibSAddrIf, Value: "missing"}, m{Field: datapath.IIfName, Value: "wf*"})
	add(datapath.ChainClamp, a(datapath.ClampMSS), m{Field: datapath.TCPFlags, Value: "syn"})
	add(datapath.ChainForward, a(datapath.Jump, "every"))
	add(datapath.ChainForward, a(datapath.Goto, "every"), m{Field: datapath.L4Proto, Value: "udp"}, m{Field: datapath.DPort, Value: "53"})
	add(datapath.ChainForward, a(datapath.SetMark, "0x100/0xf00"))
	add(datapath.ChainForward, a(datapath.SetMark, "0x100"))
	add(datapath.ChainForward, a(datapath.SetCTMark, "0x100000/0xff00000"))
	add(datapath.ChainForward, a(datapath.Return))
	add(datapath.ChainHostPort, a(datapath.DNAT4, "@ports4"))
	add(datapath.ChainHostPort, a(datapath.DNAT6, "@ports6"))
	add(datapath.ChainHostPort, a(datapath.DNAT4Addr, "@addrports4"), m{Field: datapath.FibDAddr, Value: "local"})
	add(datapath.ChainHostPort, a(datapath.DNAT6Addr, "@addrports6"))
	add(datapath.ChainMasquerade, a(datapath.Masquerade))
	out = append(out, datapath.Rule{
		Chain: datapath.ChainInput, Index: 1, Comment: "VXLAN from no peer",
		Match: [6]m{{Field: datapath.UDPDPort, Value: "8472"}, {Field: datapath.VNI, Value: "4096"}, {Field: datapath.SAddr4, Not: true, Value: "@peers4"}},
		Do:    [3]datapath.Action{a(datapath.Counter), drop},
	})
	return append(out, datapath.Chain{Name: "every"})
}

func everySet() []datapath.Object {
	set := func(name, typ, data string, interval bool, elems ...string) (out []datapath.Object) {
		out = append(out, datapath.Set{Name: name, Type: typ, Data: data, Interval: interval})
		for _, e := range elems {
			k, d, _ := strings.Cut(e, " : ")
			out = append(out, datapath.Element{Set: name, Elem: k, Data: d})
		}
		return out
	}
	var out []datapath.Object
	for _, s := range [][]datapath.Object{
		set("peers4", "ipv4_addr", "", false, "10.0.0.2", "10.0.0.3"),
		set("peers6", "ipv6_addr", "", false, "fd00::2"),
		set("macs", "ether_addr", "", false, "02:57:00:00:00:01"),
		set("marks", "mark", "", false, "0x100"),
		set("protos", "inet_proto", "", false, "tcp", "icmp", "ipv6-icmp", "sctp"),
		set("ports", "inet_service", "", true, "80", "8000-8080"),
		set("names", "ifname", "", false, "wf0123456789a"),
		set("prefixes4", "ipv4_addr", "", true, "10.0.0.0/24", "10.0.1.0/24", "192.168.0.0/16", "10.9.0.1", "240.0.0.0/4"),
		set("prefixes6", "ipv6_addr", "", true, "fd42::/48", "fe80::/10"),
		set("pairs4", "ipv4_addr . ipv4_addr", "", false, "10.0.0.1 . 10.0.0.2"),
		set("pairs6", "ipv6_addr . ipv6_addr", "", false, "fd00::1 . fd00::2"),
		set("owned", "ifname . ipv4_addr", "", false, "wf0123456789a . 10.42.1.5"),
		set("spans", "ipv4_addr . inet_service", "", true, "10.0.0.0/24 . 80-90", "10.1.0.1 . 22"),
		set("ports4", "inet_proto . inet_service", "ipv4_addr . inet_service", false, "tcp . 8080 : 10.42.1.5 . 80", "udp . 53 : 10.42.1.6 . 53"),
		set("ports6", "inet_proto . inet_service", "ipv6_addr . inet_service", false, "tcp . 8080 : fd42::5 . 80"),
		set("addrports4", "ipv4_addr . inet_proto . inet_service", "ipv4_addr . inet_service", false, "10.0.0.1 . tcp . 8080 : 10.42.1.5 . 80"),
		set("addrports6", "ipv6_addr . inet_proto . inet_service", "ipv6_addr . inet_service", false, "fd00::1 . tcp . 8080 : fd42::5 . 80"),
		set("verdicts", "ifname", "verdict", false, "wf0123456789a : jump every", "wf0123456789b : drop", "wf0123456789c : return"),
	} {
		out = append(out, s...)
	}
	return out
}

// script is a state in nft's language.
func script(s datapath.State) string {
	var sets, chains, elems, rules []string
	for _, op := range datapath.Diff(s, datapath.State{}) {
		switch o := op.New.(type) {
		case datapath.Set:
			sets = append(sets, fmt.Sprintf("add %s", strings.Replace(o.String(), " "+o.Name, " inet weft "+o.Name, 1)))
		case datapath.Chain:
			chains = append(chains, fmt.Sprintf("add %s", strings.Replace(o.String(), " "+o.Name, " inet weft "+o.Name, 1)))
		case datapath.Element:
			elems = append(elems, fmt.Sprintf("add %s", strings.Replace(o.String(), " "+o.Set, " inet weft "+o.Set, 1)))
		case datapath.Rule:
			rules = append(rules, fmt.Sprintf("add rule inet weft %s %s", o.Chain, o.Text()))
		}
	}
	all := append([]string{"add table inet weft"}, sets...)
	all = append(append(append(all, chains...), elems...), rules...)
	return strings.Join(all, "\n") + "\n"
}

func merge(t testing.TB, objects ...[]datapath.Object) datapath.State {
	t.Helper()
	s, err := datapath.Merge(objects...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNFTSpeaksAsNFT compares what nft shows of our transaction with what it
// shows of its own after loading the same text.
func TestNFTSpeaksAsNFT(t *testing.T) {
	k := open(t)
	want := merge(t, everyRule(), everySet(), datapath.BaseChains())
	converge(t, k, want)
	ours := listing(t)

	file := filepath.Join(t.TempDir(), "weft.nft")
	if err := os.WriteFile(file, []byte(script(want)), 0o600); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "nft -c -f "+file)
	kerneltest.Run(t, "nft flush ruleset")
	kerneltest.Run(t, "nft -f "+file)
	if d := cmp.Diff(listing(t), ours); d != "" {
		t.Errorf("-nft +weft:\n%s", d)
	}

	// What nft lists must load again.
	if err := os.WriteFile(file, []byte(kerneltest.Run(t, "nft list ruleset")), 0o600); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "nft flush ruleset")
	kerneltest.Run(t, "nft -f "+file)
	if d := cmp.Diff(ours, listing(t)); d != "" {
		t.Errorf("the listing does not load as it is:\n%s", d)
	}

	kerneltest.Run(t, "nft flush ruleset")
	converge(t, k, want)
	if d := cmp.Diff(ours, listing(t)); d != "" {
		t.Errorf("after nft flush ruleset:\n%s", d)
	}
	converge(t, k, datapath.State{})
	if out := kerneltest.Run(t, "nft list ruleset"); out != "" {
		t.Errorf("left behind:\n%s", out)
	}
}

// listing is what nft shows, sets and chains by name: the kernel has them in the
// order in which they were made.
func listing(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "table", "inet", "weft").CombinedOutput()
	if err != nil {
		t.Fatalf("nft list: %v\n%s", err, out)
	}
	body := strings.TrimSuffix(strings.TrimPrefix(string(out), "table inet weft {\n"), "}\n")
	blocks := strings.SplitAfter(body, "\t}\n")
	for i := range blocks {
		blocks[i] = strings.TrimPrefix(blocks[i], "\n")
	}
	slices.Sort(blocks)
	return "table inet weft {\n" + strings.Join(blocks, "") + "}\n"
}

func TestHandEdits(t *testing.T) {
	rule := func(i int, addr string) datapath.Object {
		return datapath.Rule{Chain: "c", Index: i, Match: [6]datapath.Match{{Field: datapath.SAddr4, Value: addr}}, Do: [3]datapath.Action{{Verb: datapath.Drop}}}
	}
	want := merge(t, []datapath.Object{
		datapath.Chain{Name: "c"},
		rule(1, "10.0.0.1"), rule(5, "10.0.0.5"), rule(9, "10.0.0.9"),
		datapath.Chain{Name: "base", Type: "filter", Hook: "input", Priority: -10},
		datapath.Set{Name: "s", Type: "ipv4_addr"},
		datapath.Element{Set: "s", Elem: "10.0.0.1"},
		datapath.Set{Name: "m", Type: "inet_service", Data: "ipv4_addr"},
		datapath.Element{Set: "m", Elem: "80", Data: "10.0.0.1"},
	})
	for _, tt := range []struct{ name, edit string }{
		{"rule added before", "nft insert rule inet weft c ip saddr 10.9.9.9 accept"},
		{"rule added behind", "nft add rule inet weft c ip saddr 10.9.9.9 accept"},
		{"rule with a comment of somebody", "nft add rule inet weft c accept comment hello"},
		{"rules gone", "nft flush chain inet weft c"},
		{"chain added", "nft add chain inet weft foreign"},
		{"base chain added", "nft add chain inet weft foreign { type filter hook forward priority 7 ; policy drop ; }"},
		{"policy changed", "nft chain inet weft base { policy drop ; }"},
		{"set added", "nft add set inet weft foreign { type ipv4_addr ; flags timeout ; }"},
		{"element gone", "nft delete element inet weft s { 10.0.0.1 }"},
		{"element added", "nft add element inet weft s { 10.0.0.7 }"},
		{"map emptied", "nft flush map inet weft m"},
		{"table gone", "nft delete table inet weft"},
		{"all gone", "nft flush ruleset"},
		{"anonymous set in a foreign rule", "nft add rule inet weft c ip saddr { 10.0.0.1, 10.0.0.2 } drop"},
		{"foreign jump", "nft add rule inet weft base jump c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := open(t)
			converge(t, k, want)
			before := listing(t)
			kerneltest.Run(t, tt.edit)
			converge(t, k, want)
			if d := cmp.Diff(before, listing(t)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRuleReplacedByHand(t *testing.T) {
	k := open(t)
	want := merge(t, everyRule(), everySet(), datapath.BaseChains())
	converge(t, k, want)
	before := listing(t)
	for _, line := range strings.Split(kerneltest.Run(t, "nft -a list chain inet weft inpolicy"), "\n") {
		if _, handle, ok := strings.Cut(line, "@peers4"); ok {
			_, handle, _ = strings.Cut(handle, "# handle ")
			kerneltest.Run(t, "nft replace rule inet weft inpolicy handle "+handle+" counter accept")
		}
	}
	if listing(t) == before {
		t.Fatal("nothing was edited")
	}
	converge(t, k, want)
	if d := cmp.Diff(before, listing(t)); d != "" {
		t.Error(d)
	}
}

// TestAdopt: a new process knows what an old one wrote.
func TestAdopt(t *testing.T) {
	k := open(t)
	want := merge(t, everyRule(), everySet(), datapath.BaseChains())
	converge(t, k, want)
	other, err := kernel.Open(discard, kernel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	have, err := other.Observe(context.Background(), datapath.AllKinds)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range datapath.Diff(want, have) {
		t.Error(op)
	}
}

func TestRemoveTable(t *testing.T) {
	k := open(t)
	for _, tt := range []struct {
		before string
		was    bool
	}{
		{"true", false},
		{"nft add table inet weft", true},
		{"nft add chain inet weft foreign", true},
		{"true", false},
	} {
		if strings.Contains(tt.before, "chain") {
			kerneltest.Run(t, "nft add table inet weft")
		}
		kerneltest.Run(t, tt.before)
		if was, err := k.RemoveTable(); was != tt.was || err != nil {
			t.Errorf("%s: was there: %v, %v", tt.before, was, err)
		}
		if out := kerneltest.Run(t, "nft list tables"); out != "" {
			t.Errorf("%s: left %s", tt.before, out)
		}
	}
}
