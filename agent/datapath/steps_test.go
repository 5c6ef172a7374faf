package datapath_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	. "github.com/weft-net/weft/agent/datapath"
)

var (
	pfx = netip.MustParsePrefix
	ip  = netip.MustParseAddr

	forward  = Sysctl{Path: "net/ipv4/ip_forward", Value: "1"}
	forward6 = Sysctl{Path: "net/ipv6/conf/all/forwarding", Value: "1"}
	acceptRA = Sysctl{Path: "net/ipv6/conf/eth0/accept_ra", Value: "2"}
	rpFilter = Sysctl{Path: "net/ipv4/conf/weft-vx/rp_filter", Value: "2"}
	bridge   = Link{Name: FabricLink, Type: LinkBridge, MTU: 1450}
	vx       = Link{Name: VXLANLink4, Type: LinkVXLAN, MTU: 1450, MAC: MAC{2, 0, 0, 0, 0, 1}, VXLAN: VXLAN{VNI: 4096, Port: 8472, Local: ip("192.0.2.1")}}
	veth     = Link{Name: "wf0123456789a", Type: LinkVeth, MTU: 1450}
	fabric   = Addr{Dev: FabricLink, Prefix: pfx("10.42.1.0/32")}
	fabric6  = Addr{Dev: FabricLink, Prefix: pfx("fd42::/128")}
	fdb      = FDB{Dev: VXLANLink4, MAC: MAC{2, 0, 0, 0, 0, 2}, Dst: ip("192.0.2.2")}
	neigh    = Neigh{Dev: VXLANLink4, IP: ip("10.42.2.0"), MAC: MAC{2, 0, 0, 0, 0, 2}}
	route    = Route{Dst: pfx("10.42.2.0/24"), Via: ip("10.42.2.0"), Dev: VXLANLink4, OnLink: true, Src: ip("10.42.1.0")}
	direct   = Route{Dst: pfx("10.42.2.0/24"), Via: ip("192.0.2.2"), Dev: "eth0", Src: ip("10.42.1.0")}
	pod      = Route{Dst: pfx("10.42.1.5/32"), Dev: "wf0123456789a", Src: ip("10.42.1.0")}
	set      = Set{Name: "s", Type: "ipv4_addr"}
	elem     = Element{Set: "s", Elem: "10.0.0.1"}
	verdicts = Set{Name: "v", Type: "ifname", Data: "verdict"}
	leads    = Element{Set: "v", Elem: "wf0123456789a", Data: "jump c"}
	chain    = Chain{Name: "c"}
	hook     = Chain{Name: ChainForward, Type: "filter", Hook: "forward", Priority: -10}
	names    = Rule{Chain: "c", Index: 9, Match: [6]Match{{Field: SAddr4, Value: "@s"}}, Do: [3]Action{{Verb: Drop}}}
	jumps    = Rule{Chain: ChainForward, Index: 10, Do: [3]Action{{Verb: Jump, Arg: "c"}}}
	foreign  = ForeignRule{Chain: "c", Handle: 7}
)

func with[T any](o T, change func(*T)) T {
	change(&o)
	return o
}

func state(t *testing.T, objects []Object) State {
	t.Helper()
	s, err := Merge(objects)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDiff(t *testing.T) {
	type objects = []Object
	for _, tt := range []struct {
		name       string
		want, have objects
		steps      string // separated by " ; ", without what is the same in all
	}{
		{"nothing", nil, nil, ""},
		{"equal", objects{bridge, fabric, route}, objects{bridge, fabric, route}, ""},
		{
			"a node starts",
			objects{route, neigh, fdb, fabric, vx, bridge, forward, forward6, acceptRA, rpFilter},
			nil,
			"+ sysctl net/ipv6/conf/eth0/accept_ra ; + sysctl net/ipv4/ip_forward ; + sysctl net/ipv6/conf/all/forwarding ; + link weft-vx ; + link weft0 ; + sysctl net/ipv4/conf/weft-vx/rp_filter ; + addr 10.42.1.0/32 ; + fdb 02:00:00:00:00:02 ; + neigh 10.42.2.0 ; + route 10.42.2.0/24",
		},
		{
			"a node leaves, settings stay", nil,
			objects{route, neigh, fdb, fabric, vx, bridge, forward, rpFilter},
			"- route 10.42.2.0/24 ; - neigh 10.42.2.0 ; - fdb 02:00:00:00:00:02 ; - addr 10.42.1.0/32 ; - link weft-vx ; - link weft0",
		},
		{
			"a peer moves from VXLAN to a direct path",
			objects{vx, fabric, direct},
			objects{vx, fabric, route, neigh, fdb},
			"~ route 10.42.2.0/24 ; - neigh 10.42.2.0 ; - fdb 02:00:00:00:00:02",
		},
		{
			"a peer moves from a direct path to VXLAN",
			objects{vx, fabric, route, neigh, fdb},
			objects{vx, fabric, direct},
			"+ fdb 02:00:00:00:00:02 ; + neigh 10.42.2.0 ; ~ route 10.42.2.0/24",
		},
		{
			"a prefix moves to another peer",
			objects{vx, fabric, with(route, func(r *Route) { r.Via = ip("10.42.3.0") })},
			objects{vx, fabric, route},
			"~ route 10.42.2.0/24",
		},
		{
			"a peer's address changes",
			objects{vx, with(fdb, func(f *FDB) { f.Dst = ip("192.0.2.7") })},
			objects{vx, fdb},
			"~ fdb 02:00:00:00:00:02",
		},
		{
			"a peer's MAC changes",
			objects{vx, with(fdb, func(f *FDB) { f.MAC[5] = 7 }), with(neigh, func(n *Neigh) { n.MAC[5] = 7 })},
			objects{vx, fdb, neigh},
			"+ fdb 02:00:00:00:00:07 ; ~ neigh 10.42.2.0 ; - fdb 02:00:00:00:00:02",
		},
		{"the MTU changes", objects{with(vx, func(l *Link) { l.MTU = 1400 }), fdb, neigh}, objects{vx, fdb, neigh}, "~ link weft-vx"},
		{"the node's address changes in place", objects{with(vx, func(l *Link) { l.VXLAN.Local = ip("192.0.2.7") }), fabric, fdb, route}, objects{vx, fabric, fdb, route}, "~ link weft-vx"},
		{"the MAC changes and takes neighbours along", objects{with(vx, func(l *Link) { l.MAC[5] = 7 }), fabric, fdb, neigh, route}, objects{vx, fabric, fdb, neigh, route}, "~ link weft-vx ; + neigh 10.42.2.0"},
		{
			"another VNI takes all along",
			objects{with(vx, func(l *Link) { l.VXLAN.VNI = 7 }), fabric, rpFilter, fdb, neigh, route},
			objects{vx, fabric, rpFilter, fdb, neigh, route},
			"~ link weft-vx ; + sysctl net/ipv4/conf/weft-vx/rp_filter ; + fdb 02:00:00:00:00:02 ; + neigh 10.42.2.0 ; + route 10.42.2.0/24",
		},
		{"another port, and what nobody wants went along", objects{with(vx, func(l *Link) { l.VXLAN.Port = 7 })}, objects{vx, fdb, neigh}, "~ link weft-vx"},
		{"another family underlay", objects{with(vx, func(l *Link) { l.VXLAN.Local = ip("fd00::1") }), fdb}, objects{vx, fdb}, "~ link weft-vx ; + fdb 02:00:00:00:00:02"},
		{
			"a link is missing, older looks hold the rest",
			objects{vx, fabric, fdb, neigh, route},
			objects{fabric, fdb, neigh, route},
			"+ link weft-vx ; + fdb 02:00:00:00:00:02 ; + neigh 10.42.2.0 ; + route 10.42.2.0/24",
		},
		{
			"a link is down, older looks hold its routes",
			objects{bridge, vx, fabric, fdb, neigh, route},
			objects{bridge, with(vx, func(l *Link) { l.Down = true }), fabric, fdb, neigh, route},
			"~ link weft-vx ; + route 10.42.2.0/24",
		},
		{
			"down takes IPv6 addresses and routes with that source",
			objects{bridge, fabric, fabric6, with(direct, func(r *Route) { r.Dst, r.Src = pfx("fd42:1::/64"), ip("fd42::") })},
			objects{with(bridge, func(l *Link) { l.Down = true }), fabric, fabric6, with(direct, func(r *Route) { r.Dst, r.Src = pfx("fd42:1::/64"), ip("fd42::") })},
			"~ link weft0 ; + addr fd42::/128 ; + route fd42:1::/64",
		},
		{"an address is missing, and took routes", objects{bridge, fabric, direct}, objects{bridge, direct}, "+ addr 10.42.1.0/32 ; + route 10.42.2.0/24"},
		{"a MAC that nobody asked for", objects{with(vx, func(l *Link) { l.MAC = MAC{} })}, objects{vx}, ""},
		{"an MTU that nobody asked for", objects{with(veth, func(l *Link) { l.MTU = 0 })}, objects{veth}, ""},
		{"IPv6 metric 1024 is none", objects{Route{Dst: pfx("fd42::/64"), Type: Blackhole, Metric: 1024}}, objects{Route{Dst: pfx("fd42::/64"), Type: Blackhole}}, ""},
		{
			"IPv4 metric 1024 is one",
			objects{Route{Dst: pfx("10.0.0.0/8"), Type: Blackhole, Metric: 1024}},
			objects{Route{Dst: pfx("10.0.0.0/8"), Type: Blackhole}},
			"+ route blackhole 10.0.0.0/8 ; - route blackhole 10.0.0.0/8",
		},
		{"a pod goes", objects{bridge, fabric}, objects{bridge, fabric, veth, pod}, "- route 10.42.1.5/32 ; - link wf0123456789a"},
		{"on-link routes before gateways", objects{bridge, veth, direct, pod, fabric}, objects{bridge, veth, fabric}, "+ route 10.42.1.5/32 ; + route 10.42.2.0/24"},

		{
			"a firewall starts before anything is routed",
			objects{route, vx, fabric, bridge, names, chain, elem, set, hook, jumps},
			nil,
			"+ set s ; + chain c ; + chain fwdpolicy ; + element s { 10.0.0.1 } ; + rule c 9 ; + rule fwdpolicy 10 ; + link weft-vx ; + link weft0 ; + addr 10.42.1.0/32 ; + route 10.42.2.0/24",
		},
		{
			"a firewall ends, elements go with their set", nil,
			objects{names, chain, elem, set, hook, jumps},
			"- rule c 9 ; - rule fwdpolicy 10 ; - set s ; - chain c ; - chain fwdpolicy",
		},
		{"a rule changes", objects{chain, with(names, func(r *Rule) { r.Do[0].Verb = Accept }), set}, objects{chain, names, set}, "~ rule c 9"},
		{"rules stand by number, not by text", objects{chain, set, names, with(names, func(r *Rule) { r.Index = 10 })}, objects{chain, set}, "+ rule c 9 ; + rule c 10"},
		{"a foreign rule goes", objects{chain, set, names}, objects{chain, set, names, foreign}, "- rule c handle 7"},
		{
			"another type of set takes rules and elements along",
			objects{with(set, func(s *Set) { s.Type = "ipv6_addr" }), chain, names, Element{Set: "s", Elem: "fd42::1"}},
			objects{set, chain, names, elem},
			"- rule c 9 ; - set s ; + set s ; + element s { fd42::1 } ; + rule c 9",
		},
		{
			"another priority takes the chain's rules along",
			objects{with(hook, func(c *Chain) { c.Priority = 5 }), chain, jumps},
			objects{hook, chain, jumps},
			"- rule fwdpolicy 10 ; - chain fwdpolicy ; + chain fwdpolicy ; + rule fwdpolicy 10",
		},
		{
			"a chain that is jumped to becomes another",
			objects{with(chain, func(c *Chain) { c.Type, c.Hook = "filter", "input" }), hook, verdicts},
			objects{chain, hook, jumps, verdicts, leads},
			"- rule fwdpolicy 10 ; - element v { wf0123456789a : jump c } ; - chain c ; + chain c",
		},
		{"a chain goes with the map that leads to it", nil, objects{chain, verdicts, leads}, "- map v ; - chain c"},
		{"all was flushed, older looks hold rules", objects{chain, set, names, elem}, objects{names, elem}, "+ set s ; + chain c ; + element s { 10.0.0.1 } ; + rule c 9"},
		{"a map's value changes", objects{verdicts, chain, leads}, objects{verdicts, chain, with(leads, func(e *Element) { e.Data = "drop" })}, "~ element v { wf0123456789a : jump c }"},
		{
			"quotes and host lengths are no difference",
			objects{set, verdicts, Element{Set: "v", Elem: `"eth0"`, Data: "drop"}, Element{Set: "s", Elem: "10.0.0.1/32"}},
			objects{set, verdicts, Element{Set: "v", Elem: "eth0", Data: "drop"}, elem},
			"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, op := range Diff(state(t, tt.want), state(t, tt.have)) {
				got = append(got, short(op))
			}
			if d := cmp.Diff(strings.ReplaceAll(tt.steps, " ; ", "\n"), strings.Join(got, "\n")); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// short is a step without what the case is not about.
func short(op Op) string {
	words := strings.Fields(op.String())
	n := 3
	switch {
	case words[1] == "element":
		n = slices.Index(words, "}") + 1
	case words[1] == "rule" && words[3] == "handle":
		n = 5
	case words[1] == "rule", words[2] == Blackhole:
		n = 4
	}
	s := strings.Join(words[:min(n, len(words))], " ")
	if words[1] == "sysctl" {
		s, _, _ = strings.Cut(s, "=")
	}
	return s
}

func TestMergeNamesBoth(t *testing.T) {
	_, err := Merge([]Object{bridge}, []Object{with(bridge, func(l *Link) { l.MTU = 1400 })})
	if err == nil || !strings.Contains(err.Error(), "1450") || !strings.Contains(err.Error(), "1400") {
		t.Errorf("error %v names not both", err)
	}
}

func TestIsOurs(t *testing.T) {
	for _, tt := range []struct {
		name, typ string
		ours      bool
	}{
		{"weft0", "bridge", true},
		{"weft0", "dummy", false},
		{"weft-vx", "vxlan", true},
		{"weft-vx6", "vxlan", true},
		{"weft-vx", "veth", false},
		{"weft-wg0", "wireguard", true},
		{"weft-wg1", "wireguard", true},
		{"weft-wg0", "tun", false},
		{"weft-wg2", "wireguard", false},
		{"wg0", "wireguard", false},
		{"wf0123456789a", "veth", true},
		{"wf0123456789a", "bridge", false},
		{"wf0123456789A", "veth", false},
		{"wf0123456789", "veth", false},
		{"wfhome", "veth", false},
		{"eth0", "veth", false},
	} {
		if got := IsOurs(tt.name, tt.typ); got != tt.ours {
			t.Errorf("%s %s: %v", tt.typ, tt.name, got)
		}
	}
}
