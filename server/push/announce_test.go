package push

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"pgregory.net/rapid"
)

// A node that announces what is leased to another is told so, for as long as it is
// so.
func TestAnnouncedLeaseOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		f.put(kind.Lease, "n7", kind.LeaseSpec{Node: "n7", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.42.7.0/24")}})
		h := hello("n1", 1)
		h.Report.AnnouncedPrefixes = []string{"10.244.1.0/24", "10.42.7.128/25"}
		a := f.join(h)
		a.hear()
		problem := func() string {
			t.Helper()
			synctest.Wait()
			s, _ := f.hub.Status("n1")
			for _, p := range s.Problems {
				if p.Subject == "announced prefix" {
					return p.Cause
				}
			}
			return "none"
		}
		want := "10.42.7.128/25 does not count: node n7 has the lease 10.42.7.0/24 in it"
		if got := problem(); got != want {
			t.Errorf("n1 says that it has n7's addresses: %s, want %s", got, want)
		}
		f.write(kind.Key(kind.Lease, "", "n7"), nil)
		a.hear()
		if got := problem(); got != "none" {
			t.Errorf("n7 is gone: %s", got)
		}
		f.put(kind.Lease, "n8", kind.LeaseSpec{Node: "n8", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}})
		a.hear()
		if got := problem(); !strings.HasPrefix(got, "10.244.1.0/24 does not count: node n8") {
			t.Errorf("n8 was leased what n1 announced: %s", got)
		}
		r := hello("n1", 1).GetReport()
		a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Report{Report: r}})
		a.hear()
		if got := problem(); got != "none" {
			t.Errorf("n1 announces nothing any more: %s", got)
		}
	})
}

// An agent that is quicker than a server that starts has spoken before the leases are
// known: what it announces is judged once they are.
func TestAnnouncedBeforeLeasesAreKnown(t *testing.T) {
	f := newFabric(t, nil)
	f.put(kind.Lease, "n7", kind.LeaseSpec{Node: "n7", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.42.7.0/24")}})
	f.stop()
	f.start() // whose mirror has the lease
	h := New(f.hub.cfg)
	for node, announced := range map[string][]netip.Prefix{"n1": {netip.MustParsePrefix("10.42.7.128/25")}, "n2": nil} {
		s := &stream{hub: h, name: node, node: h.nodeOf(node)}
		s.announces(kind.ReportSpec{Announced: announced}, nil)
	}
	cancel, err := h.follow()
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	for node, want := range map[string]string{"n1": "10.42.7.128/25 does not count: node n7 has the lease 10.42.7.0/24 in it", "n2": ""} {
		s, _ := h.Status(node)
		got := ""
		for _, p := range s.Problems {
			got += p.Cause
		}
		if got != want {
			t.Errorf("%s: %q, want %q", node, got, want)
		}
	}
}

func TestBadEgressReports(t *testing.T) {
	many := make([]string, maxAnnounced+1)
	for i := range many {
		many[i] = fmt.Sprintf("10.1.%d.0/24", i)
	}
	for _, c := range []struct {
		announced []string
		ports     []uint32
		want      string
	}{
		{[]string{"10.244.1.0/24", "fd44::/48"}, []uint32{9100}, "[10.244.1.0/24 fd44::/48] [9100] <nil>"},
		{[]string{"10.244.1.1/24"}, nil, `announced_prefixes: "10.244.1.1/24" is not a prefix`},
		{[]string{"::ffff:10.0.0.0/104"}, nil, "is not a prefix"},
		{[]string{"0.0.0.0/0"}, nil, "announced_prefixes: 0.0.0.0/0 overlaps"},
		{[]string{"127.0.0.0/8"}, nil, "loopback"},
		{[]string{"fe80::/64"}, nil, "link-local"},
		{many, nil, "announced_prefixes: 65; at most 64"},
		{nil, []uint32{0}, "host_ports: 0 is no port"},
		{nil, []uint32{65536}, "host_ports: 65536 is no port"},
		{nil, make([]uint32, 65), "host_ports: 65; at most 64"},
	} {
		r := hello("n1", 1).GetReport()
		r.AnnouncedPrefixes, r.HostPorts = c.announced, c.ports
		spec, err := readReport(r)
		if got := fmt.Sprint(spec.Announced, " ", spec.HostPorts, " ", err); !strings.Contains(got, c.want) {
			t.Errorf("%.60v %.20v: %s, want %s", c.announced, c.ports, got, c.want)
		}
	}
}

// The sorted leases answer as a search through all of them.
func TestLandIsAsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l land
		held := map[string]netip.Prefix{} // disjoint: a /24 each
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			node := rapid.SampledFrom([]string{"n1", "n2", "n3", "n4"}).Draw(t, "node")
			e := store.Event{Entry: store.Entry{Key: kind.Key(kind.Lease, "", node)}}
			delete(held, node)
			if rapid.Bool().Draw(t, "leased") {
				p := netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", rapid.IntRange(0, 9).Draw(t, "third")))
				taken := false
				for _, q := range held {
					taken = taken || p == q
				}
				b, err := kind.Encode(kind.Lease, kind.Metadata{Name: node}, kind.LeaseSpec{Node: node, Prefixes: []netip.Prefix{p}})
				if err != nil {
					t.Fatal(err)
				}
				if !taken { // else it is released
					held[node], e.Value = p, b
				}
			}
			l.take([]store.Event{e})
		}
		a := netip.AddrFrom4([4]byte{10, 42, byte(rapid.IntRange(0, 9).Draw(t, "asked")), byte(rapid.IntRange(0, 255).Draw(t, "fourth"))})
		p := netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
		want := false
		for node, q := range held {
			want = want || node != "n1" && q.Overlaps(p)
		}
		if of, got := l.overlap("n1", p); got != want || got && (of.Node == "n1" || held[of.Node] != of.Prefix) {
			t.Fatalf("%v in %v: %v %v, want %v", p, held, of, got, want)
		}
	})
}
