package egress

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/server/kind"
)

// Which way a target is dialled, by mode.
func TestRoute(t *testing.T) {
	a := cluster(t, kind.EgressCluster)
	for _, line := range strings.Split(strings.TrimSpace(`
		# target        node  disabled  agent      pod        cluster
		192.0.2.11      -     direct    node:n1    node:n1    node:n1
		10.42.1.0       -     direct    node:n1    node:n1    node:n1
		192.168.1.5     -     direct    Ambiguous  Ambiguous  Ambiguous
		192.168.1.5     n3    node:n3   node:n3    node:n3    node:n3
		10.42.1.7       -     direct    direct     node:n1    node:n1
		fd42:42:0:2::9  -     direct    direct     node:n2    node:n2
		10.99.2.3       -     direct    direct     node:n2    node:n2
		10.42.9.9       -     direct    direct     any        any
		198.51.100.7    -     direct    direct     direct     node:n1
		10.43.0.1       -     direct    direct     direct     any
		10.43.0.1       n2    node:n2   node:n2    node:n2    node:n2
		203.0.113.9     -     direct    direct     direct     direct
		203.0.113.9     n1    node:n1   node:n1    node:n1    node:n1
		example.org     -     direct    direct     direct     direct
		example.org     n1    node:n1   node:n1    node:n1    node:n1
	`), "\n") {
		words := strings.Fields(line)
		if words[0] == "#" {
			continue
		}
		for i, mode := range []string{kind.EgressDisabled, kind.EgressAgent, kind.EgressPod, kind.EgressCluster} {
			p := Place{Kind: Named}
			if addr, err := netip.ParseAddr(words[0]); err == nil {
				p = a.place(addr)
			}
			if p.Kind == Attached && mode != kind.EgressCluster { // not followed then
				p = Place{Kind: Elsewhere}
			}
			way, r := route(mode, strings.Trim(words[1], "-"), p)
			got := string(way.Via)
			if way.Node != "" {
				got += ":" + way.Node
			}
			if r != nil {
				got = string(r.Code)
			}
			if got != words[2+i] {
				t.Errorf("%s, node %s, mode %s: %s, want %s", words[0], words[1], mode, got, words[2+i])
			}
			if r == nil && way.Why == "" {
				t.Errorf("%s, mode %s: no reason", words[0], mode)
			}
		}
	}
}

func TestRouteSaysWhy(t *testing.T) {
	a := cluster(t, kind.EgressCluster)
	for _, c := range []struct{ mode, addr, want string }{
		{kind.EgressAgent, "10.42.1.7", "is in 10.42.1.0/24, leased to node n1; egressSelectorMode agent dials that directly"},
		{kind.EgressPod, "10.42.1.7", "is in 10.42.1.0/24, leased to node n1"},
		{kind.EgressPod, "10.99.2.3", "is in 10.99.2.0/24, which node n2 announces"},
		{kind.EgressPod, "192.168.1.5", "is an address of node n2 and n3; say which: weft dial NODE HOST:PORT, or the header Weft-Node on CONNECT"},
		{kind.EgressCluster, "10.43.0.1", "is a service's address, in 10.43.0.0/16"},
		{kind.EgressPod, "203.0.113.9", "is nothing of the cluster's; egressSelectorMode pod dials that directly"},
	} {
		way, r := route(c.mode, "", a.place(netip.MustParseAddr(c.addr)))
		got := way.Why
		if r != nil {
			got = r.Error()
		}
		if got != c.want {
			t.Errorf("%s in mode %s:\ngot  %s\nwant %s", c.addr, c.mode, got, c.want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"10.42.1.7:80", "10.42.1.7:80"},
		{"[fd42::1]:443", "[fd42::1]:443"},
		{"[::ffff:10.0.0.1]:80", "10.0.0.1:80"},
		{"Web.Example.ORG.:8080", "web.example.org:8080"},
		{"n1:10250", "n1:10250"},
		{"10.42.1.7", "Malformed"},
		{"10.42.1.7:", "Malformed"},
		{"10.42.1.7:0", "Malformed"},
		{"10.42.1.7:65536", "Malformed"},
		{"10.42.1.7:+80", "Malformed"},
		{"10.42.1.7:http", "Malformed"},
		{":80", "Malformed"},
		{"[fe80::1%eth0]:80", "Malformed"},
		{"user:secret@10.42.1.7:80", "Malformed"},
		{"user@host:80", "Malformed"},
		{"a/b:80", "Malformed"},
		{"-x:80", "Malformed"},
		{"2130706433:80", "Malformed"},
		{"0x7f.1:80", "Malformed"},
		{"0177.0.0.1:80", "Malformed"},
		{"a b:80", "Malformed"},
		{"ho\x00st:80", "Malformed"},
		{strings.Repeat("a", 254) + ":80", "Malformed"},
		{strings.Repeat("a", 64<<10), "Malformed"},
	} {
		r, err := ParseTarget(c.in)
		got := r.String()
		if err != nil {
			got = string(Refused(err).Code)
			if len(err.Error()) > 250 {
				t.Errorf("%.40q: a reason of %d bytes", c.in, len(err.Error()))
			}
		}
		if got != c.want {
			t.Errorf("%.40q: %s, want %s", c.in, got, c.want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"10.42.1.7:80", "[fd42::1]:443", "n1:1", "[::ffff:1.2.3.4]:9", "a@b:1", ":", "[", "[::1%a]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseTarget(s)
		if err != nil {
			return
		}
		again, err := ParseTarget(r.String())
		if err != nil || again != r {
			t.Errorf("%q is %+v, and that is %+v, %v", s, r, again, err)
		}
	})
}
