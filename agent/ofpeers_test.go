package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// TestOfPeers: what is kept until a server has spoken leads to peers; what is a pod's
// is the node's own to know.
func TestOfPeers(t *testing.T) {
	pod := datapath.PodPrefix + "0123456789a"
	pfx := netip.MustParsePrefix
	for _, c := range []struct {
		o    datapath.Object
		kept bool
	}{
		{datapath.Route{Dst: pfx("10.42.1.0/24"), Dev: datapath.WGLink0}, true},
		{datapath.Route{Dst: pfx("10.42.1.0/24"), Dev: "eth0"}, true},
		{datapath.Route{Dst: pfx("10.42.0.7/32"), Dev: pod}, false},
		{datapath.Neigh{Dev: datapath.VXLANLink4}, true},
		{datapath.Neigh{Dev: pod}, false},
		{datapath.Addr{Dev: datapath.WGLink1, Prefix: pfx("10.42.0.0/32")}, true},
		{datapath.Addr{Dev: pod, Prefix: pfx("10.42.0.0/32")}, false},
		{datapath.Element{Set: "vtep4", Elem: "192.0.2.2"}, true},
		{datapath.Element{Set: "hostports", Elem: "80"}, false},
		{datapath.Set{Name: "vtep6"}, true},
		{datapath.Set{Name: "hostports"}, false},
		{datapath.Link{Name: datapath.WGLink0, Type: datapath.LinkWG}, true},
		{datapath.Link{Name: datapath.SpareLink4, Type: datapath.LinkVXLAN}, true},
		{datapath.Link{Name: pod, Type: datapath.LinkVeth}, false},
		{datapath.FDB{Dev: datapath.VXLANLink4}, true},
		{datapath.WGPeer{Dev: datapath.WGLink0}, true},
		{datapath.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"}, false},
		{datapath.Rule{Chain: datapath.ChainInput}, false},
	} {
		if got := ofPeers(c.o); got != c.kept {
			t.Errorf("%T %v: kept %v, want %v", c.o, c.o, got, c.kept)
		}
	}
}

// TestLacking: while a pair has no choice yet, what the kernel has of it is kept.
func TestLacking(t *testing.T) {
	n := intent.Node{Name: "n1", Cluster: intent.Cluster{Backend: intent.Auto}, Peers: []intent.Peer{{Name: "n1"}, {Name: "n2"}, {Name: "n3"}}}
	plain := n
	plain.Cluster.Backend = intent.VXLAN
	leaves := plain
	leaves.Cluster.Receive = []intent.Carrier{{Backend: intent.WireGuard}}
	both := map[string]mesh.Choice{"n2": {}, "n3": {}}
	for _, c := range []struct {
		what    string
		node    intent.Node
		choices map[string]mesh.Choice
		want    bool
	}{
		{"nothing is chosen yet", n, nil, true},
		{"one pair has no choice", n, map[string]mesh.Choice{"n2": {}}, true},
		{"all have", n, both, false},
		{"nobody chooses", plain, nil, false},
		{"a carrier of choices is still received by", leaves, nil, true},
	} {
		if got := lacking(c.node, c.choices); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// TestSummary: each pair is told, on its rung and by its relay; of one in which nothing
// answers it is told that it is down.
func TestSummary(t *testing.T) {
	lease := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	n := intent.Node{Name: "n2", Epoch: "e", Revision: 7, Cluster: intent.Cluster{Backend: intent.WireGuard}, Peers: []intent.Peer{
		{Name: "n1", Lease: lease("10.42.0.0/24")},
		{Name: "n2", Lease: lease("10.42.1.0/24")},
		{Name: "n3", Lease: lease("10.42.2.0/24")},
		{Name: "n4", Lease: lease("10.42.3.0/24")},
		{Name: "n5"},
	}}
	relayed := mesh.Choice{Rung: mesh.ByServer}
	relayed.Peers[0].Via = mesh.Via{Server: "s1"}
	choices := map[string]mesh.Choice{"n1": {Rung: mesh.WireGuard}, "n3": relayed, "n4": {Rung: mesh.Punched}, "n5": {Rung: mesh.WireGuard}}
	got := summary(n, choices, []string{"n1", "n4"})
	want := "down [{relayed (s1) [n3]}]"
	if on := fmt.Sprintf("%s %v", got.Usual, got.Others); on != want || !slices.Equal(got.Down, []string{"n1", "n4"}) || got.Rungs[mesh.WireGuard.String()] != 1 || got.Epoch != "e" || got.Revision != 7 {
		t.Errorf("%+v, want %s", got, want)
	}
}

// TestLeft: a pair that sends as the carrier to which the fabric goes does not permit is
// still on its way; one that has no way delays nobody.
func TestLeft(t *testing.T) {
	slots := []intent.Slot{{Slot: 0, Port: 51820}}
	a, b := intent.Peer{Name: "a", Slots: slots}, intent.Peer{Name: "b", Slots: slots}
	leaving := intent.Cluster{Backend: intent.WireGuard, Receive: []intent.Carrier{{Backend: intent.VXLAN, VNI: 4096, Port: 8472}}}
	spare := intent.Cluster{Backend: intent.Auto, Encryption: intent.EncryptNever, VNI: 77, VXLANPort: 8472, Spare: true, Receive: []intent.Carrier{{Backend: intent.Auto, Encryption: intent.EncryptNever, VNI: 4096, Port: 8472}}}
	there := leaving
	there.Receive = nil
	under := []intent.Underlay{{Addr: netip.MustParsePrefix("192.0.2.1/24"), Device: "eth0", MTU: 1500}}
	x, y := a, b
	x.Underlay = under
	y.Underlay = []intent.Underlay{{Addr: netip.MustParsePrefix("192.0.2.2/24"), Device: "eth0", MTU: 1500}}
	for _, c := range []struct {
		what    string
		cluster intent.Cluster
		choice  mesh.Choice
		want    bool
	}{
		{"VXLAN, going to WireGuard", leaving, mesh.Choice{Rung: mesh.VXLAN}, true},
		{"direct, going to WireGuard", leaving, mesh.Choice{Rung: mesh.Direct}, true},
		{"arrived", leaving, mesh.Choice{Rung: mesh.WireGuard}, false},
		{"arrived, over a relay", leaving, mesh.Choice{Rung: mesh.ByServer}, false},
		{"no way", leaving, mesh.Choice{}, false},
		{"nothing is left", there, mesh.Choice{Rung: mesh.VXLAN}, false},
		{"the old VXLAN device", spare, mesh.Choice{Rung: mesh.VXLAN}, true},
		{"the new one", spare, mesh.Choice{Rung: mesh.VXLAN, Spare: true}, false},
		{"WireGuard, which is not meant", spare, mesh.Choice{Rung: mesh.WireGuard}, true},
	} {
		if got := left(c.cluster, x, y, c.choice); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
