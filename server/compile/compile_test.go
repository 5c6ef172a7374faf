package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"pgregory.net/rapid"
)

func encode(k, name string, labels map[string]string, spec any) []byte {
	b, err := kind.Encode(k, kind.Metadata{Name: name, Labels: labels}, spec)
	if err != nil {
		panic(err)
	}
	return b
}

func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for s := range strings.FieldsSeq(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func clusterConfig(cidrs string) []byte {
	return encode(kind.ClusterConfig, "default", nil, kind.ClusterConfigSpec{ClusterCIDRs: prefixes(cidrs)})
}

func leaseOf(node, list string) []byte {
	return encode(kind.Lease, node, nil, kind.LeaseSpec{Node: node, Prefixes: prefixes(list)})
}

func reportOf(node, addr string) []byte {
	return encode(kind.Report, node, nil, kind.ReportSpec{
		Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix(addr), Device: "eth0", MTU: 1500}},
		VTEP:      "02:57:00:00:00:01",
		Labels:    map[string]string{"site": "fra", "from": "node"},
	})
}

func policyOf(selector string) []byte {
	return encode(kind.EgressPolicy, "web", nil, kind.EgressPolicySpec{
		Nodes: []string{"n2"}, NodeSelector: selector, Users: []string{"bob"},
		Allow: []kind.EgressRule{{CIDR: netip.MustParsePrefix("10.9.0.0/16"), Ports: []egress.Ports{{First: 80, Last: 80}}}},
		Deny:  []kind.EgressRule{{Host: "*.example.com"}},
	})
}

func event(rev int64, k, name string, value []byte) store.Event {
	return store.Event{Entry: store.Entry{Key: kind.Key(k, "", name), Value: value, Revision: rev}}
}

// text prints changes as an operator would tell them.
func text(t *testing.T, changes []Change) []string {
	t.Helper()
	var out []string
	for _, c := range changes {
		switch {
		case c.Gone:
			out = append(out, fmt.Sprintf("%d %s gone", c.Revision, c.Key))
		case c.Collection == intent.CollectionCluster:
			v, err := intent.DecodeCluster(c.Value)
			if err != nil {
				t.Fatal(err)
			}
			line := fmt.Sprintf("%d %s %v %s vni %d port %d masquerade %v", c.Revision, c.Key, v.CIDRs, v.Backend, v.VNI, v.VXLANPort, v.Masquerade)
			for _, k := range v.Receive {
				line += " receives " + k.String()
			}
			out = append(out, line)
		case c.Collection == intent.CollectionEgress:
			v, err := egress.DecodePolicy(c.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%d %s %v", c.Revision, c.Key, v))
		default:
			v, err := intent.DecodePeer(c.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%d %s %v at %v %v", c.Revision, c.Key, v.Lease, v.Underlay[0].Addr, v.Labels))
		}
	}
	return out
}

func TestAJoin(t *testing.T) {
	c := New()
	for _, step := range []struct {
		name string
		in   []store.Event
		want []string
	}{
		{"the cluster", []store.Event{event(1, kind.ClusterConfig, "default", clusterConfig("10.42.0.0/16 fd42:42::/48"))}, []string{
			"1 ClusterConfig//default [10.42.0.0/16 fd42:42::/48] vxlan vni 4096 port 8472 masquerade [10.42.0.0/16 fd42:42::/48]",
		}},
		{"a reservation is no peer", []store.Event{event(2, kind.Lease, "n1", leaseOf("n1", "10.42.1.0/24 fd42:42:0:1::/64"))}, nil},
		{"a report makes it one", []store.Event{event(3, kind.Report, "n1", reportOf("n1", "192.0.2.1/24"))}, []string{
			"3 Node//n1 [10.42.1.0/24 fd42:42:0:1::/64] at 192.0.2.1/24 map[from:node site:fra]",
		}},
		{"the same again", []store.Event{event(4, kind.Report, "n1", reportOf("n1", "192.0.2.1/24"))}, nil},
		{"labels of operators win", []store.Event{event(5, kind.Node, "n1", encode(kind.Node, "n1", map[string]string{"site": "ams"}, kind.NodeSpec{}))}, []string{
			"5 Node//n1 [10.42.1.0/24 fd42:42:0:1::/64] at 192.0.2.1/24 map[from:node site:ams]",
		}},
		{"how packets travel, until the cluster's way is reached", []store.Event{event(5, kind.Carriage, "default", encode(kind.Carriage, "default", nil, kind.CarriageSpec{
			Send: intent.Carrier{Backend: intent.HostGW}, Receive: []intent.Carrier{{Backend: intent.VXLAN, VNI: 4096, Port: 8472}},
		}))}, []string{
			"5 ClusterConfig//default [10.42.0.0/16 fd42:42::/48] host-gw vni 0 port 0 masquerade [10.42.0.0/16 fd42:42::/48] receives vxlan 4096 on UDP 8472",
		}},
		{"and then", []store.Event{event(5, kind.Carriage, "default", encode(kind.Carriage, "default", nil, kind.CarriageSpec{Send: intent.Carrier{Backend: intent.VXLAN, VNI: 4096, Port: 8472}}))}, []string{
			"5 ClusterConfig//default [10.42.0.0/16 fd42:42::/48] vxlan vni 4096 port 8472 masquerade [10.42.0.0/16 fd42:42::/48]",
		}},
		{"the families' order turns", []store.Event{event(6, kind.ClusterConfig, "default", clusterConfig("2001:db8::/48 10.42.0.0/16"))}, []string{
			"6 ClusterConfig//default [2001:db8::/48 10.42.0.0/16] vxlan vni 4096 port 8472 masquerade [10.42.0.0/16]",
			"6 Node//n1 [fd42:42:0:1::/64 10.42.1.0/24] at 192.0.2.1/24 map[from:node site:ams]",
		}},
		{"a new address and another node in one batch", []store.Event{
			event(7, kind.Report, "n1", reportOf("n1", "192.0.2.9/24")),
			event(8, kind.Lease, "n2", leaseOf("n2", "10.42.2.0/24")),
			event(9, kind.Report, "n2", reportOf("n2", "192.0.2.2/24")),
		}, []string{
			"7 Node//n1 [fd42:42:0:1::/64 10.42.1.0/24] at 192.0.2.9/24 map[from:node site:ams]",
			"9 Node//n2 [10.42.2.0/24] at 192.0.2.2/24 map[from:node site:fra]",
		}},
		{"a node goes", []store.Event{event(10, kind.Lease, "n1", nil), event(10, kind.Report, "n1", nil), event(10, kind.Node, "n1", nil)}, []string{
			"10 Node//n1 gone",
		}},
		{"a policy", []store.Event{event(10, kind.EgressPolicy, "web", policyOf("site=home"))}, []string{
			"10 EgressPolicy//web web; nodes n2; nodes with site=home; users bob; allow cidr 10.9.0.0/16 ports 80; deny host *.example.com",
		}},
		{"the policy in other words", []store.Event{event(11, kind.EgressPolicy, "web", policyOf("site in (home)"))}, nil},
		{"the policy cannot be read", []store.Event{event(11, kind.EgressPolicy, "web", policyOf("("))}, nil},
		{"it goes", []store.Event{event(12, kind.EgressPolicy, "web", nil)}, []string{"12 EgressPolicy//web gone"}},
		{"kinds of a later release", []store.Event{event(11, "Pool", "p", []byte("x")), {Entry: store.Entry{Key: "/weft/v1/intent/odd", Value: []byte("x")}}}, nil},
	} {
		got := text(t, c.Apply(step.in))
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
	}
	if len(c.Problems()) > 0 || len(c.peers) != 1 {
		t.Errorf("left: %v, %d peers", c.Problems(), len(c.peers))
	}
}

func TestTheLastGoodValueStands(t *testing.T) {
	good := []store.Event{
		event(1, kind.ClusterConfig, "default", clusterConfig("10.42.0.0/16")),
		event(2, kind.Lease, "n1", leaseOf("n1", "10.42.1.0/24")),
		event(3, kind.Report, "n1", reportOf("n1", "192.0.2.1/24")),
	}
	many := map[string]string{}
	for i := range maxLabels + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name string
		bad  store.Event
		want string
	}{
		{"not JSON", event(9, kind.Lease, "n1", []byte("{")), "unexpected end of JSON"},
		{"a later schema", event(9, kind.Lease, "n1", []byte(`{"schema":9}`)), "run the newer release again"},
		{"another's lease", event(9, kind.Lease, "n1", leaseOf("n2", "10.42.2.0/24")), `metadata.name is "n2"`},
		{"lease of another node", event(9, kind.Lease, "n1", encode(kind.Lease, "n1", nil, kind.LeaseSpec{Node: "n2", Prefixes: prefixes("10.42.2.0/24")})), `spec.node is "n2"`},
		{"empty lease", event(9, kind.Lease, "n1", leaseOf("n1", "")), "spec.prefixes is empty"},
		{"host bits", event(9, kind.Lease, "n1", leaseOf("n1", "10.42.1.1/24")), "bits below its length"},
		{"no MAC", event(9, kind.Report, "n1", encode(kind.Report, "n1", nil, kind.ReportSpec{VTEP: "x"})), "not a MAC address"},
		{"MTU below 0", event(9, kind.Report, "n1", encode(kind.Report, "n1", nil, kind.ReportSpec{Addresses: []kind.ReportAddress{{Address: prefixes("192.0.2.1/24")[0], MTU: -1}}})), "MTU -1"},
		{"too many labels", event(9, kind.Node, "n1", encode(kind.Node, "n1", many, kind.NodeSpec{})), "513 labels: at most 512"},
		{"MTU of the cluster below 0", event(9, kind.ClusterConfig, "default", encode(kind.ClusterConfig, "default", nil, kind.ClusterConfigSpec{ClusterCIDRs: prefixes("10.0.0.0/8"), MTU: -1})), "mtu -1"},
		{"a carrier", event(9, kind.Carriage, "default", encode(kind.Carriage, "default", nil, kind.CarriageSpec{Send: intent.Carrier{Backend: "ipsec"}})), `backend "ipsec"`},
		{"backend", event(9, kind.ClusterConfig, "default", encode(kind.ClusterConfig, "default", nil, kind.ClusterConfigSpec{Backend: "ipsec"})), `backend "ipsec"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := New()
			k.Apply(good)
			before := k.Objects()
			changes := k.Apply([]store.Event{c.bad})
			problems := k.Problems()
			if len(changes) > 0 || !cmp.Equal(before, k.Objects()) {
				t.Errorf("changed: %v", changes)
			}
			if len(problems) != 1 || problems[0].Key != c.bad.Key || !strings.Contains(problems[0].Cause, c.want) {
				t.Errorf("got %v, want %s", problems, c.want)
			}
			c.bad.Value = nil
			if k.Apply([]store.Event{c.bad}); len(k.Problems()) > 0 {
				t.Errorf("deleted, yet a problem: %v", k.Problems())
			}
		})
	}
}

func TestMasqueradeModes(t *testing.T) {
	const cidrs = "10.42.0.0/16 fd42:42::/48 2001:db8::/48"
	for mode, want := range map[string]string{
		"":       "10.42.0.0/16 fd42:42::/48",
		"auto":   "10.42.0.0/16 fd42:42::/48",
		"always": cidrs,
		"never":  "",
	} {
		c, err := Cluster(kind.ClusterConfigSpec{ClusterCIDRs: prefixes(cidrs), Masquerade: mode})
		if err != nil || !slices.Equal(c.Masquerade, prefixes(want)) {
			t.Errorf("%q: %v, %v", mode, c.Masquerade, err)
		}
	}
}

// TestIncrementalIsFromScratch: whatever happened in whatever order and batches,
// the objects are those of the last good values, compiled at once.
func TestIncrementalIsFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := New()
		var rev int64
		good, now := map[string]store.Entry{}, map[string]store.Entry{}
		held := map[string]string{} // what one who follows the changes holds
		for range rapid.IntRange(0, 20).Draw(t, "batches") {
			var batch []store.Event
			for range rapid.IntRange(0, 6).Draw(t, "events") {
				rev++
				e, isGood := drawEvent(t, rev)
				batch = append(batch, e)
				switch {
				case e.Value == nil:
					delete(good, e.Key)
					delete(now, e.Key)
				case isGood:
					good[e.Key], now[e.Key] = e.Entry, e.Entry
				default:
					now[e.Key] = e.Entry
				}
			}
			for _, ch := range c.Apply(batch) {
				if ch.Gone {
					delete(held, ch.Collection+" "+ch.Key)
				} else {
					held[ch.Collection+" "+ch.Key] = string(ch.Value)
				}
			}
			objects, _ := All(entries(good))
			want := map[string]string{}
			for _, o := range objects {
				want[o.Collection+" "+o.Key] = string(o.Value)
			}
			if diff := cmp.Diff(want, held); diff != "" {
				t.Fatal(diff)
			}
			if len(c.Objects()) != len(held) {
				t.Fatalf("%d objects, %d told", len(c.Objects()), len(held))
			}
			_, problems := All(entries(now))
			if diff := cmp.Diff(problems, c.Problems()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func entries(m map[string]store.Entry) []store.Entry {
	var out []store.Entry
	for _, e := range m {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func drawEvent(t *rapid.T, rev int64) (store.Event, bool) {
	k := rapid.SampledFrom([]string{kind.ClusterConfig, kind.Carriage, kind.Node, kind.Lease, kind.Report, kind.EgressPolicy}).Draw(t, "kind")
	name := rapid.SampledFrom([]string{"n1", "n2", "n3"}).Draw(t, "name")
	if k == kind.ClusterConfig || k == kind.Carriage {
		name = kind.DefaultName
	}
	i := rapid.IntRange(1, 3).Draw(t, "value")
	switch rapid.SampledFrom([]string{"set", "set", "set", "delete", "break"}).Draw(t, "what") {
	case "delete":
		return event(rev, k, name, nil), true
	case "break":
		return event(rev, k, name, []byte("{")), false
	}
	var v []byte
	switch k {
	case kind.ClusterConfig:
		v = clusterConfig([]string{"10.42.0.0/16", "10.42.0.0/16 fd42::/48", "fd42::/48 10.42.0.0/16"}[i-1])
	case kind.Carriage:
		v = encode(k, name, nil, kind.CarriageSpec{Send: intent.Carrier{Backend: intent.HostGW}, Receive: []intent.Carrier{{Backend: intent.VXLAN, VNI: uint32(i), Port: 8472}}})
	case kind.Node:
		v = encode(k, name, map[string]string{"l": fmt.Sprint(i)}, kind.NodeSpec{})
	case kind.Lease:
		v = leaseOf(name, fmt.Sprintf("10.42.%d.0/24 fd42:0:0:%d::/64", i, i))
	case kind.EgressPolicy:
		v = encode(k, name, nil, kind.EgressPolicySpec{Users: []string{fmt.Sprint("u", i)}, OnlyListed: true})
	case kind.Report:
		v = reportOf(name, fmt.Sprintf("192.0.2.%d/24", i))
	}
	return event(rev, k, name, v), true
}

func TestAudience(t *testing.T) {
	if !(Audience{}).Has("n1") || !ToNode("n1").Has("n1") || ToNode("n1").Has("n2") {
		t.Error("an audience has another node than it says")
	}
}

func FuzzApply(f *testing.F) {
	f.Add(kind.Lease, "n1", leaseOf("n1", "10.42.1.0/24"))
	f.Add(kind.Report, "n1", reportOf("n1", "192.0.2.1/24"))
	f.Add(kind.ClusterConfig, "default", clusterConfig("10.42.0.0/16"))
	f.Add(kind.Carriage, "default", encode(kind.Carriage, "default", nil, kind.CarriageSpec{Send: intent.Carrier{Backend: intent.VXLAN, VNI: 7, Spare: true}, Behind: []string{"n1"}}))
	f.Add(kind.EgressPolicy, "web", policyOf("a=b"))
	f.Add(kind.Node, "n1", encode(kind.Node, "n1", nil, kind.NodeSpec{}))
	f.Fuzz(func(t *testing.T, k, name string, b []byte) {
		c := New()
		c.Apply([]store.Event{
			event(1, kind.Lease, name, leaseOf(name, "10.42.1.0/24")),
			event(1, kind.Report, name, reportOf(name, "192.0.2.1/24")),
			event(2, k, name, b),
		})
		if _, bad := intent.Decode("n1", "", 1, 2, c.Objects()); len(bad) > 0 {
			t.Errorf("an agent refuses it: %v", bad)
		}
	})
}

// BenchmarkJoin is what the thousandth node costs.
func BenchmarkJoin(b *testing.B) {
	c := New()
	c.Apply([]store.Event{event(1, kind.ClusterConfig, "default", clusterConfig("10.0.0.0/8"))})
	for i := range 1000 {
		name := fmt.Sprint("n", i)
		c.Apply([]store.Event{
			event(2, kind.Lease, name, leaseOf(name, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))),
			event(2, kind.Report, name, reportOf(name, "192.0.2.1/24")),
		})
	}
	join := []store.Event{event(3, kind.Lease, "x", leaseOf("x", "10.200.0.0/24")), event(3, kind.Report, "x", reportOf("x", "192.0.2.2/24"))}
	leave := []store.Event{event(4, kind.Lease, "x", nil)}
	for b.Loop() {
		c.Apply(join)
		c.Apply(leave)
	}
}
