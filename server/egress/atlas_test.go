package egress

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"pgregory.net/rapid"
)

func event(t testing.TB, of, name string, labels map[string]string, spec any) store.Event {
	t.Helper()
	b, err := kind.Encode(of, kind.Metadata{Name: name, Labels: labels}, spec)
	if err != nil {
		t.Fatal(err)
	}
	return store.Event{Entry: store.Entry{Key: kind.Key(of, "", name), Value: b}}
}

func prefixes(text string) (out []netip.Prefix) {
	for _, p := range strings.Fields(text) {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func reportOf(t testing.TB, node, addresses string) store.Event {
	var spec kind.ReportSpec
	for _, p := range prefixes(addresses) {
		spec.Addresses = append(spec.Addresses, kind.ReportAddress{Address: p, Device: "eth0"})
	}
	return event(t, kind.Report, node, nil, spec)
}

func leaseOf(t testing.TB, node, of string) store.Event {
	return event(t, kind.Lease, node, nil, kind.LeaseSpec{Node: node, Prefixes: prefixes(of)})
}

func endpointOf(t testing.TB, key, addrs string) store.Event {
	o := kind.EndpointObservation{Key: key}
	for _, a := range strings.Fields(addrs) {
		o.Addresses = append(o.Addresses, netip.MustParseAddr(a))
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return store.Event{Entry: store.Entry{Key: kind.ObservedEndpoint(key), Value: b}}
}

// cluster is what the tests of this room know: three nodes, two of which have the
// same address behind their NATs.
func cluster(t testing.TB, mode string) *atlas {
	a := newAtlas()
	a.take([]store.Event{
		event(t, kind.ClusterConfig, kind.DefaultName, nil, kind.ClusterConfigSpec{
			ClusterCIDRs: prefixes("10.42.0.0/16 fd42:42::/48"), ServiceCIDRs: prefixes("10.43.0.0/16"), EgressSelectorMode: mode,
		}),
		event(t, kind.Node, "n1", nil, kind.NodeSpec{}), event(t, kind.Node, "n2", nil, kind.NodeSpec{}),
		event(t, kind.Node, "n3", map[string]string{LabelDefaultRoute: "true"}, kind.NodeSpec{}),
		leaseOf(t, "n1", "10.42.1.0/24 fd42:42:0:1::/64"), leaseOf(t, "n2", "10.42.2.0/24 fd42:42:0:2::/64"), leaseOf(t, "n3", "10.42.3.0/24"),
		reportOf(t, "n1", "192.0.2.11/24 2001:db8::11/64"), reportOf(t, "n2", "192.168.1.5/24"), reportOf(t, "n3", "192.168.1.5/24 192.0.2.13/24"),
	})
	a.announced.set("n2", "n2", prefixes("10.99.2.0/24 10.42.1.128/25"))
	a.endpoints([]store.Event{endpointOf(t, "n1/c1/eth0", "198.51.100.7"), endpointOf(t, "n3/c2/eth0", "10.42.1.9")})
	return a
}

func TestPlace(t *testing.T) {
	a := cluster(t, kind.EgressCluster)
	for _, c := range []struct{ addr, want string }{
		{"192.0.2.11", "node address 192.0.2.11/32 n1"},
		{"2001:db8::11", "node address 2001:db8::11/128 n1"},
		{"192.168.1.5", "node address 192.168.1.5/32 n2 n3"}, // both behind a NAT of their own
		{"10.42.1.0", "fabric address 10.42.1.0/32 n1"},
		{"fd42:42:0:2::", "fabric address fd42:42:0:2::/128 n2"},
		{"10.42.1.7", "lease 10.42.1.0/24 n1"},
		{"10.42.1.9", "lease 10.42.1.0/24 n1"},   // not n3, whose endpoint says so
		{"10.42.1.200", "lease 10.42.1.0/24 n1"}, // not n2, which announces half of another's lease
		{"fd42:42:0:1::7", "lease fd42:42:0:1::/64 n1"},
		{"10.43.0.1", "service 10.43.0.0/16"},
		{"198.51.100.7", "endpoint 198.51.100.7/32 n1"},
		{"10.99.2.3", "announced 10.99.2.0/24 n2"},
		{"10.42.9.9", "cluster 10.42.0.0/16"},
		{"203.0.113.9", "elsewhere -"},
		{"0.0.0.0", "elsewhere -"},
	} {
		p := a.place(netip.MustParseAddr(c.addr))
		got := strings.TrimSpace(fmt.Sprint(p.Kind, " ", strings.ReplaceAll(p.Prefix.String(), "invalid Prefix", "-"), " ", strings.Join(p.Nodes, " ")))
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.addr, got, c.want)
		}
	}
}

// What is taken away is gone, and what was below it is there again.
func TestPlaceFollows(t *testing.T) {
	a := cluster(t, kind.EgressCluster)
	gone := func(of, name string) store.Event {
		return store.Event{Entry: store.Entry{Key: kind.Key(of, "", name)}}
	}
	for _, c := range []struct {
		what string
		do   func()
		addr string
		want Kind
	}{
		{"lease released", func() { a.take([]store.Event{gone(kind.Lease, "n1")}) }, "10.42.1.9", Attached},
		{"endpoint gone", func() {
			a.endpoints([]store.Event{{Entry: store.Entry{Key: kind.ObservedEndpoint("n3/c2/eth0")}}})
		}, "10.42.1.9", Unleased},
		{"what was announced counts now", func() {}, "10.42.1.200", Announced},
		{"report gone", func() { a.take([]store.Event{gone(kind.Report, "n3")}) }, "192.0.2.13", Elsewhere},
		{"the other still has it", func() {}, "192.168.1.5", NodeAddress},
		{"endpoints forgotten", a.noEndpoints, "198.51.100.7", Elsewhere},
		{"lease moved", func() { a.take([]store.Event{leaseOf(t, "n2", "10.42.1.0/24")}) }, "10.42.1.9", Leased},
		{"not readable: the last stands", func() {
			a.take([]store.Event{{Entry: store.Entry{Key: kind.Key(kind.Lease, "", "n2"), Value: []byte("{")}}})
		}, "10.42.1.9", Leased},
	} {
		c.do()
		if got := a.place(netip.MustParseAddr(c.addr)).Kind; got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.what, c.addr, got, c.want)
		}
	}
	if p := a.place(netip.MustParseAddr("192.168.1.5")); !slices.Equal(p.Nodes, []string{"n2"}) {
		t.Errorf("192.168.1.5 is of %v, want n2 alone", p.Nodes)
	}
}

// The table answers as a list would that is searched from end to end.
func TestTableIsAsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c claims
		said := map[string][]netip.Prefix{} // by key; the node is the key's first letter
		prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "b") & 3, rapid.Byte().Draw(t, "c") & 3, rapid.Byte().Draw(t, "d") & 7})
			return netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
		})
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"a1", "a2", "b1", "c1"}).Draw(t, "key")
			list := rapid.SliceOfN(prefix, 0, 4).Draw(t, "prefixes")
			c.set(key, key[:1], list)
			said[key] = list
		}
		addr := prefix.Draw(t, "addr").Addr()
		best, whose := netip.Prefix{}, []string(nil)
		for key, list := range said {
			for _, p := range list {
				switch {
				case !p.Contains(addr) || best.IsValid() && p.Bits() < best.Bits():
				case best.IsValid() && p.Bits() == best.Bits():
					whose = append(whose, key[:1])
				default:
					best, whose = p, []string{key[:1]}
				}
			}
		}
		slices.Sort(whose)
		whose = slices.Compact(whose)
		if p, got := c.find(addr); p != best || !slices.Equal(got, whose) {
			t.Fatalf("%v: %v of %v, want %v of %v", addr, p, got, best, whose)
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	a := newAtlas()
	for i := range 5000 {
		name := fmt.Sprintf("n%d", i)
		a.take([]store.Event{
			leaseOf(b, name, fmt.Sprintf("10.%d.%d.0/24", 64+i/256, i%256)), reportOf(b, name, fmt.Sprintf("192.168.%d.%d/16", i/256, i%256)),
		})
	}
	addr := netip.MustParseAddr("10.70.7.9")
	for b.Loop() {
		a.place(addr)
	}
}

// An address on a node's underlay is that node's, whatever others say that leads to
// them from outside.
func TestUnderlayBeforeExternal(t *testing.T) {
	a := cluster(t, kind.EgressAgent)
	liar := kind.ReportSpec{
		Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix("192.168.7.7/24"), Device: "eth0"}},
		External:  []netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("203.0.113.7")},
	}
	a.take([]store.Event{event(t, kind.Report, "n2", nil, liar)})
	for addr, want := range map[string]string{"192.0.2.11": "n1", "203.0.113.7": "n2", "192.168.7.7": "n2"} {
		if p := a.place(netip.MustParseAddr(addr)); p.Kind != NodeAddress || !slices.Equal(p.Nodes, []string{want}) {
			t.Errorf("%s is %s of %v, want node %s alone", addr, p.Kind, p.Nodes, want)
		}
	}
}
