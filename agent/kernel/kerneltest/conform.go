package kerneltest

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weft-net/weft/agent/datapath"
)

// Kernel is what Fake and package kernel have in common for the loop.
type Kernel interface {
	Observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error)
	Apply(ctx context.Context, ops []datapath.Op) []error
}

// Conform runs the suite. Open makes an empty kernel with a device eth0 that is
// up; a real one is in a namespace of its own.
func Conform(t *testing.T, open func(testing.TB) Kernel) {
	for _, tt := range accepted {
		t.Run(tt.name, func(t *testing.T) {
			k := open(t)
			converge(t, k, base())
			apply(t, k, tt.steps, nil)
		})
	}
	for _, tt := range refused {
		t.Run("bad "+tt.name, func(t *testing.T) {
			k := open(t)
			converge(t, k, base())
			apply(t, k, []datapath.Op{tt.step}, []string{tt.why})
			if left := look(t, k, base()); len(left) > 0 {
				t.Errorf("a refused step changed something: %v", left)
			}
		})
	}
	t.Run("one failure delays no other", func(t *testing.T) { isolation(t, open(t)) })
	t.Run("deletes what nobody wants", func(t *testing.T) {
		k := open(t)
		converge(t, k, base())
		converge(t, k, datapath.State{})
		converge(t, k, base())
	})
	t.Run("random walk", func(t *testing.T) {
		k := open(t)
		rapid.Check(t, func(r *rapid.T) { converge(r, k, State(r, "s")) })
	})
}

var (
	pfx  = netip.MustParsePrefix
	ip   = netip.MustParseAddr
	vtep = datapath.MAC{2, 0x57, 0, 0, 0, 2}

	bridge  = datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450}
	vxlan   = datapath.Link{Name: datapath.VXLANLink4, Type: datapath.LinkVXLAN, MTU: 1450, MAC: datapath.MAC{2, 0x57, 0, 0, 0, 1}, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: ip("192.0.2.1")}}
	fabric4 = datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("10.42.1.0/32")}
	fabric6 = datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("fd42:0:0:1::/128")}
	entry   = datapath.FDB{Dev: datapath.VXLANLink4, MAC: vtep, Dst: ip("192.0.2.2")}
	peer    = datapath.Neigh{Dev: datapath.VXLANLink4, IP: ip("10.42.2.0"), MAC: vtep}
	route4  = datapath.Route{Dst: pfx("10.42.2.0/24"), Via: ip("10.42.2.0"), Dev: datapath.VXLANLink4, OnLink: true, Src: ip("10.42.1.0")}
	route6  = datapath.Route{Dst: pfx("fd42:0:0:2::/64"), Via: ip("fd42:0:0:2::"), Dev: datapath.VXLANLink4, OnLink: true, Src: ip("fd42:0:0:1::")}
	sealed  = datapath.Link{Name: datapath.WGLink0, Type: datapath.LinkWG, MTU: 1420, WG: datapath.WG{Key: Key(0), Port: 51820}}
	near    = datapath.WGPeer{Dev: datapath.WGLink0, Peer: Key(10), Allowed: "10.42.5.0/24,fd42:0:0:5::/64", PSK: PSK(0), Endpoint: netip.MustParseAddrPort("192.0.2.5:51820"), Keepalive: 25}
	far     = datapath.WGPeer{Dev: datapath.WGLink0, Peer: Key(11), Allowed: "10.42.6.0/24"}
	set     = datapath.Set{Name: "s", Type: "ipv4_addr"}
	element = datapath.Element{Set: "s", Elem: "10.0.0.1"}
	portMap = datapath.Set{Name: "m", Type: "inet_service", Data: "ipv4_addr"}
	port    = datapath.Element{Set: "m", Elem: "80", Data: "10.0.0.1"}
	chain   = datapath.Chain{Name: "c"}
	drop    = datapath.Rule{Chain: "c", Index: 10, Match: [6]datapath.Match{{Field: datapath.SAddr4, Value: "@s"}}, Do: [3]datapath.Action{{Verb: datapath.Drop}}}
)

func base() datapath.State {
	s, err := datapath.Merge([]datapath.Object{
		bridge, vxlan, fabric4, fabric6, entry, peer, route4, route6, sealed, near, far, set, element, portMap, port, chain, drop,
	})
	if err != nil {
		panic(err) // a bug in this file
	}
	return s
}

func with[T any](o T, change func(*T)) T {
	change(&o)
	return o
}

// accepted are steps on base that must succeed.
var accepted = []struct {
	name  string
	steps []datapath.Op
}{
	{"OK add twice", []datapath.Op{{New: fabric4}, {New: entry}, {New: peer}, {New: route4}, {New: route6}, {New: set}, {New: element}, {New: port}, {New: chain}, {New: drop}, {New: vxlan}, {New: sealed}, {New: near}, {New: far}}},
	{"OK delete what is not there", []datapath.Op{
		{Old: datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("10.42.7.0/32")}},
		{Old: datapath.Addr{Dev: "weft-vx6", Prefix: pfx("10.42.7.0/32")}},
		{Old: with(fabric4, func(a *datapath.Addr) { a.Peer = pfx("192.0.0.8/32") })},
		{Old: with(peer, func(n *datapath.Neigh) { n.IP = ip("10.42.7.0") })},
		{Old: with(peer, func(n *datapath.Neigh) { n.Dev = "weft-vx6" })},
		{Old: with(entry, func(f *datapath.FDB) { f.MAC[5] = 7 })},
		{Old: with(entry, func(f *datapath.FDB) { f.Dev = "weft-vx6" })},
		{Old: with(route4, func(r *datapath.Route) { r.Dst = pfx("10.42.7.0/24") })},
		{Old: with(route6, func(r *datapath.Route) { r.Dst = pfx("fd42:0:0:7::/64") })},
		{Old: with(route6, func(r *datapath.Route) { r.Dev, r.Dst = "weft-vx6", pfx("fd42:0:0:8::/64") })},
		{Old: datapath.Link{Name: "weft-vx6", Type: datapath.LinkVXLAN}},
		{Old: datapath.Link{Name: datapath.WGLink1, Type: datapath.LinkWG}},
		{Old: with(near, func(p *datapath.WGPeer) { p.Peer = Key(12) })},
		{Old: with(near, func(p *datapath.WGPeer) { p.Dev = datapath.WGLink1 })},
		{Old: datapath.Element{Set: "s", Elem: "10.0.0.7"}},
		{Old: datapath.Element{Set: "nosuch", Elem: "10.0.0.7"}},
		{Old: with(drop, func(r *datapath.Rule) { r.Index = 70 })},
		{Old: datapath.ForeignRule{Chain: "c", Handle: 4711}},
		{Old: datapath.Dormant{}},
		{Old: datapath.Chain{Name: "nosuch"}},
		{Old: datapath.Set{Name: "nosuch", Type: "ipv4_addr"}},
	}},
	{"OK an address with a peer, beside one without and alone", []datapath.Op{
		{New: with(fabric4, func(a *datapath.Addr) { a.Dev, a.Peer = datapath.VXLANLink4, pfx("192.0.0.8/32") })},
		{New: with(fabric4, func(a *datapath.Addr) { a.Dev = datapath.VXLANLink4 })},
		{Old: with(fabric4, func(a *datapath.Addr) { a.Dev = datapath.VXLANLink4 })},
		{New: with(fabric4, func(a *datapath.Addr) { a.Dev, a.Peer = datapath.VXLANLink4, pfx("192.0.0.8/24") })},
	}},
	{"OK an address with a peer takes the place of another, and nothing goes with that", []datapath.Op{
		{New: datapath.Addr{Dev: datapath.VXLANLink4, Prefix: pfx("10.42.1.0/32"), Peer: pfx("10.42.1.1/32")}},
		{New: datapath.Addr{Dev: datapath.VXLANLink4, Prefix: pfx("10.42.3.0/32"), Peer: pfx("10.42.3.1/32")}},
		{Old: datapath.Addr{Dev: datapath.VXLANLink4, Prefix: pfx("10.42.1.0/32"), Peer: pfx("10.42.1.1/32")}},
	}},
	{"OK a peer moves from VXLAN to a direct path", []datapath.Op{
		{Old: route4, New: datapath.Route{Dst: route4.Dst, Via: ip("192.0.2.2"), Dev: "eth0", OnLink: true, Src: route4.Src}},
		{Old: route6, New: datapath.Route{Dst: route6.Dst, Via: ip("fd00::2"), Dev: "eth0", OnLink: true, Src: route6.Src}},
	}},
	{"OK a route becomes a blackhole and back", []datapath.Op{
		{Old: route4, New: datapath.Route{Dst: route4.Dst, Type: datapath.Blackhole}},
		{Old: route6, New: datapath.Route{Dst: route6.Dst, Type: datapath.Blackhole}},
		{Old: datapath.Route{Dst: route4.Dst, Type: datapath.Blackhole}, New: route4},
		{Old: datapath.Route{Dst: route6.Dst, Type: datapath.Blackhole}, New: route6},
	}},
	{"OK a prefix twice, by metric", []datapath.Op{
		{New: with(route4, func(r *datapath.Route) { r.Metric = 8700 })},
		{New: with(route6, func(r *datapath.Route) { r.Metric = 8700 })},
		{Old: route4},
		{Old: route6},
	}},
	{"OK route replaced without an old one", []datapath.Op{{New: with(route4, func(r *datapath.Route) { r.MTU = 1300 })}, {New: with(route6, func(r *datapath.Route) { r.MTU = 1300 })}}},
	{"OK a VTEP's address changes", []datapath.Op{{Old: entry, New: with(entry, func(f *datapath.FDB) { f.Dst = ip("192.0.2.7") })}}},
	{"OK a peer's MAC changes", []datapath.Op{
		{New: with(entry, func(f *datapath.FDB) { f.MAC[5] = 7 })},
		{Old: peer, New: with(peer, func(n *datapath.Neigh) { n.MAC[5] = 7 })},
		{Old: entry},
	}},
	{"OK a link's MTU, offload and address change", []datapath.Op{
		{Old: bridge, New: with(bridge, func(l *datapath.Link) { l.MTU = 1400 })},
		{Old: vxlan, New: with(vxlan, func(l *datapath.Link) {
			l.MTU, l.VXLAN.CheckOff, l.VXLAN.Local = 1400, true, ip("192.0.2.7")
		})},
	}},
	{"OK a link's MAC changes and takes its neighbours", []datapath.Op{
		{Old: vxlan, New: with(vxlan, func(l *datapath.Link) { l.MAC[5] = 9 })}, {New: peer},
	}},
	{"OK a WireGuard device's key, port, mark and MTU change", []datapath.Op{{Old: sealed, New: with(sealed, func(l *datapath.Link) {
		l.MTU, l.WG = 1380, datapath.WG{Key: Key(1), Port: 51830, Mark: 7}
	})}}},
	{"OK a WireGuard peer roams, and is not sent back", []datapath.Op{
		{Old: near, New: with(near, func(p *datapath.WGPeer) { p.Endpoint = netip.MustParseAddrPort("[2001:db8::5]:4500") })},
		{New: with(near, func(p *datapath.WGPeer) { p.Endpoint = netip.AddrPort{} })},
		{Old: far, New: with(far, func(p *datapath.WGPeer) { p.Endpoint = netip.MustParseAddrPort("192.0.2.6:51820") })},
	}},
	{"OK a WireGuard peer's keepalive and pre-shared key change and go", []datapath.Op{
		{Old: near, New: with(near, func(p *datapath.WGPeer) { p.Keepalive, p.PSK = 0, PSK(1) })},
		{Old: far, New: with(far, func(p *datapath.WGPeer) { p.Keepalive, p.PSK = 10, PSK(1) })},
		{Old: with(near, func(p *datapath.WGPeer) { p.Keepalive, p.PSK = 0, PSK(1) }), New: with(near, func(p *datapath.WGPeer) { p.Keepalive, p.PSK = 0, [32]byte{} })},
	}},
	{"OK a WireGuard peer gets prefixes and gives some up", []datapath.Op{
		{Old: far, New: with(far, func(p *datapath.WGPeer) { p.Allowed = "10.42.6.0/24,10.42.7.0/24,fd42:0:0:6::/64" })},
		{Old: near, New: with(near, func(p *datapath.WGPeer) { p.Allowed = "10.42.5.0/24" })},
	}},
	{"OK prefixes move from peer to peer, both ways at once", []datapath.Op{
		{Old: near, New: with(near, func(p *datapath.WGPeer) { p.Allowed = "10.42.6.0/24,fd42:0:0:5::/64" })},
		{Old: far, New: with(far, func(p *datapath.WGPeer) { p.Allowed = "10.42.5.0/24" })},
	}},
	{"OK a prefix moves to a new peer before the old one goes", []datapath.Op{
		{New: with(near, func(p *datapath.WGPeer) { p.Peer = Key(12) })},
		{Old: near},
	}},
	{"OK all of a peer's prefixes go", []datapath.Op{{Old: near, New: with(near, func(p *datapath.WGPeer) { p.Allowed = "" })}}},
	{"OK a map's value changes", []datapath.Op{{Old: port, New: with(port, func(e *datapath.Element) { e.Data = "10.0.0.2" })}}},
	{"OK a map's value changes, unseen", []datapath.Op{{New: with(port, func(e *datapath.Element) { e.Data = "10.0.0.2" })}}},
	{"OK rules in between, before and behind", []datapath.Op{
		{New: with(drop, func(r *datapath.Rule) { r.Index = 30 })},
		{New: with(drop, func(r *datapath.Rule) { r.Index = 5 })},
		{New: with(drop, func(r *datapath.Rule) { r.Index = 20 })},
		{New: with(drop, func(r *datapath.Rule) { r.Index = 15 })},
		{New: with(drop, func(r *datapath.Rule) { r.Index = 1 })},
	}},
	{"OK a rule changes", []datapath.Op{{Old: drop, New: with(drop, func(r *datapath.Rule) { r.Do[0].Verb = datapath.Accept })}}},
	{"OK a rule changes, unseen", []datapath.Op{{New: with(drop, func(r *datapath.Rule) { r.Do[0].Verb = datapath.Accept })}}},
	{"OK deletes in any order are one transaction", []datapath.Op{{Old: set}, {Old: chain}, {Old: drop}, {Old: element}}},
}

// refused are steps on base that must fail, and change nothing.
var refused = []struct {
	name string
	step datapath.Op
	why  string
}{
	{"address without device", datapath.Op{New: datapath.Addr{Dev: "weft-vx6", Prefix: pfx("10.42.7.0/32")}}, "weft-vx6"},
	{"neighbour without device", datapath.Op{New: with(peer, func(n *datapath.Neigh) { n.Dev = "weft-vx6" })}, "weft-vx6"},
	{"forwarding entry without device", datapath.Op{New: with(entry, func(f *datapath.FDB) { f.Dev = "weft-vx6" })}, ""},
	{"WireGuard peer without device", datapath.Op{New: with(near, func(p *datapath.WGPeer) { p.Dev = datapath.WGLink1 })}, datapath.WGLink1},
	{"route without device", datapath.Op{New: with(route4, func(r *datapath.Route) { r.Dev, r.Metric = "weft-vx6", 7 })}, "weft-vx6"},
	{"route with a foreign source", datapath.Op{New: with(route4, func(r *datapath.Route) { r.Src, r.Metric = ip("10.42.7.0"), 7 })}, ""},
	{"IPv6 route with a foreign source", datapath.Op{New: with(route6, func(r *datapath.Route) { r.Src, r.Metric = ip("fd42:0:0:7::"), 7 })}, ""},
	{"sysctl without device", datapath.Op{New: datapath.Sysctl{Path: "net/ipv4/conf/weft-vx6/rp_filter", Value: "2"}}, "rp_filter"},
	{"veth without pod", datapath.Op{New: datapath.Link{Name: "wf0123456789a", Type: datapath.LinkVeth, MTU: 1450}}, "pod"},
	{"element without set", datapath.Op{New: datapath.Element{Set: "nosuch", Elem: "10.0.0.1"}}, "nosuch"},
	{"verdict without chain", datapath.Op{New: datapath.Element{Set: "m", Elem: "81", Data: "jump nosuch"}}, ""},
	{"rule without chain", datapath.Op{New: with(drop, func(r *datapath.Rule) { r.Chain = "nosuch" })}, ""},
	{"rule that names no set", datapath.Op{New: with(drop, func(r *datapath.Rule) { r.Index, r.Match[0].Value = 20, "@nosuch" })}, ""},
	{"rule that jumps nowhere", datapath.Op{New: with(drop, func(r *datapath.Rule) { r.Index, r.Do[0] = 20, datapath.Action{Verb: datapath.Jump, Arg: "nosuch"} })}, ""},
	{"end of a set that a rule names", datapath.Op{Old: set}, ""},
}

// isolation: a step that fails keeps no other from being done, but those on the
// same chain.
func isolation(t testing.TB, k Kernel) {
	converge(t, k, base())
	bad := with(drop, func(r *datapath.Rule) { r.Index, r.Match[0].Value = 20, "@nosuch" })
	beside := with(drop, func(r *datapath.Rule) { r.Index = 30 })
	other := datapath.Element{Set: "s", Elem: "10.0.0.9"}
	lost := with(route4, func(r *datapath.Route) { r.Dev, r.Metric = "weft-vx6", 7 })
	next := with(route4, func(r *datapath.Route) { r.Dst = pfx("10.42.9.0/24") })
	leads := datapath.Element{Set: "v", Elem: "80", Data: "jump nosuch"}
	verdicts := datapath.Set{Name: "v", Type: "inet_service", Data: "verdict"}
	drops := datapath.Element{Set: "v", Elem: "81", Data: "drop"}
	errs := k.Apply(context.Background(), []datapath.Op{{New: bad}, {New: beside}, {New: other}, {New: lost}, {New: next}, {New: verdicts}, {New: leads}, {New: drops}})
	for i, fails := range []bool{true, true, false, true, false, false, true, false} {
		if (errs[i] != nil) != fails {
			t.Errorf("step %d: %v", i, errs[i])
		}
	}
	want := base()
	for _, o := range []datapath.Object{other, next, verdicts, drops} {
		want[o.Key()] = o
	}
	if left := look(t, k, want); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// tester is what rapid.T and testing.TB share.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// converge makes k be as wanted, and fails unless the first round did it.
func converge(t tester, k Kernel, want datapath.State) {
	t.Helper()
	ops := look(t, k, want)
	for i, err := range k.Apply(context.Background(), ops) {
		if err != nil {
			t.Fatalf("%v: %v\nsteps: %v", ops[i], err, ops)
		}
	}
	if left := look(t, k, want); len(left) > 0 {
		t.Fatalf("left: %v\nafter: %v", left, ops)
	}
}

func look(t tester, k Kernel, want datapath.State) []datapath.Op {
	t.Helper()
	have, err := k.Observe(context.Background(), datapath.AllKinds)
	if err != nil {
		t.Fatalf("observe: %v", err)
	}
	return datapath.Diff(want, have)
}

// apply takes steps on base, expects errors with these words or none, and then
// expects to see what the steps say.
func apply(t tester, k Kernel, steps []datapath.Op, why []string) {
	t.Helper()
	errs := k.Apply(context.Background(), steps)
	want := base()
	for i, op := range steps {
		switch {
		case why == nil && errs[i] != nil:
			t.Errorf("%v: %v", op, errs[i])
		case why != nil && errs[i] == nil:
			t.Errorf("%v was accepted", op)
		case why != nil && !strings.Contains(errs[i].Error(), why[i]):
			t.Errorf("%v: error %q does not name %q", op, errs[i], why[i])
		}
		if op.New != nil {
			want[op.Key()] = op.New
			continue
		}
		delete(want, op.Key())
		for key, o := range want {
			if e, ok := o.(datapath.Element); ok && op.Key() == (datapath.Set{Name: e.Set}).Key() {
				delete(want, key)
			}
		}
	}
	if why != nil {
		return
	}
	if left := look(t, k, want); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
