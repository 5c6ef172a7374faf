package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/intent"
)

// What a node announces counts as far as no other has leased it, and that is looked
// at again when leases may have changed.
func TestWhatIsAnnouncedStands(t *testing.T) {
	announced := []netip.Prefix{pfx("10.244.1.0/24"), pfx("10.42.2.128/25")}
	n := intent.Node{Name: "n1", Epoch: "e1", Revision: 1, Peers: []intent.Peer{
		{Name: "n1", Lease: []netip.Prefix{pfx("10.42.1.0/24")}}, {Name: "n2", Lease: []netip.Prefix{pfx("10.42.2.0/24")}},
	}}
	var d dials
	for _, c := range []struct {
		what   string
		change func()
		want   string
	}{
		{"n2 has one of them", func() {}, "[10.244.1.0/24]"},
		{"the same revision", func() {}, "[10.244.1.0/24]"},
		{"n2 goes", func() { n.Revision, n.Peers = 2, n.Peers[:1] }, "[10.244.1.0/24 10.42.2.128/25]"},
		{"n3 comes with the other", func() {
			n.Revision, n.Peers = 3, append(n.Peers[:1:1], intent.Peer{Name: "n3", Lease: []netip.Prefix{pfx("10.244.0.0/16")}})
		}, "[10.42.2.128/25]"},
		{"it has both", func() { n.Revision, n.Peers[1].Lease = 4, append(n.Peers[1].Lease, pfx("10.42.0.0/16")) }, "[]"},
		{"another epoch", func() { n.Epoch, n.Peers = "e2", n.Peers[:1] }, "[10.244.1.0/24 10.42.2.128/25]"},
	} {
		c.change()
		if got := fmt.Sprint(d.stands(n, announced)); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	if got := d.stands(n, nil); got != nil {
		t.Errorf("nothing is announced, and %v stands", got)
	}
}

func TestRefuseEgress(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Announced: []netip.Prefix{pfx("10.244.1.0/24"), pfx("fd44::/48")}, HostPorts: []uint16{9100}}, "<nil>"},
		{Config{Announced: []netip.Prefix{pfx("10.244.1.1/24")}}, "--announce-prefix 10.244.1.1/24 has host bits; did you mean 10.244.1.0/24"},
		{Config{Announced: []netip.Prefix{pfx("0.0.0.0/0")}}, "--announce-prefix 0.0.0.0/0 overlaps 0.0.0.0/8"},
		{Config{Announced: []netip.Prefix{pfx("::ffff:10.0.0.0/104")}}, "is IPv4 mapped into IPv6"},
		{Config{Announced: []netip.Prefix{pfx("10.244.0.0/16"), pfx("10.244.1.0/24")}}, "--announce-prefix 10.244.1.0/24 overlaps 10.244.0.0/16"},
		{Config{Announced: make([]netip.Prefix, 65)}, "names 65 prefixes; at most 64"},
		{Config{HostPorts: []uint16{0}}, "--egress-host-port 0: accepted: 1 to 65535"},
		{Config{HostPorts: make([]uint16, 65)}, "names 65 ports; at most 64"},
	} {
		if got := fmt.Sprint(c.cfg.refuseEgress()); !strings.Contains(got, c.want) {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
