package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// threeNodes is what all are told of a cluster of three, n1 and n2 of one site and n3 alone.
func threeNodes(c intent.Cluster) *weftv1.NodeIntent {
	c.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42:42::/48")}
	c.VNI, c.VXLANPort, c.WireGuardPort = 4096, 8472, 51820
	out := &weftv1.NodeIntent{Epoch: "3", Revision: 7, CompileVersion: intent.CompileVersion, Objects: []*weftv1.Set{
		{Collection: intent.CollectionCluster, Key: intent.KeyCluster, Value: intent.EncodeCluster(c)},
	}}
	for i, site := range []string{"fra", "fra", "home"} {
		p := intent.Peer{
			Name: fmt.Sprint("n", i+1), Labels: map[string]string{intent.SiteLabel: site}, VTEP: intent.MAC{2, 0x57, 0, 0, 0, byte(i + 1)},
			Slots:    []intent.Slot{{Key: intent.Key{byte(i + 1)}, Port: 51820}},
			Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)), Device: "eth0", MTU: 1500}},
			Lease:    []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd42:42:0:%d::/64", i+1))},
		}
		out.Objects = append(out.Objects, &weftv1.Set{Collection: intent.CollectionPeers, Key: intent.PeerKey(p.Name), Value: intent.EncodePeer(p)})
	}
	return out
}

// TestPlanOfPairsThatChoose: what the kernel has of them, their nodes have said; what they
// may stay on does not change.
func TestPlanOfPairsThatChoose(t *testing.T) {
	auto := intent.Cluster{Backend: intent.Auto, Encryption: intent.EncryptUntrusted}
	always := intent.Cluster{Backend: intent.Auto, Encryption: intent.EncryptAlways}
	vxlan := intent.Cluster{Backend: intent.VXLAN}
	for _, c := range []struct {
		what       string
		node       int
		was, is    intent.Cluster
		sends      string // peer rung mtu, …
		want, none string // lines that are there, or not; separated by |
	}{
		{
			"a direct pair is to be encrypted", 1, auto, always, "n2 direct 0, n3 wireguard 0",
			"~ route 10.42.2.0/24 dev weft-wg0 proto 87 src 10.42.1.0 (was: route 10.42.2.0/24 via 192.0.2.2 dev eth0 proto 87 src 10.42.1.0)|- route 10.42.2.0/24 via 192.0.2.2 dev eth0 proto 87 src 10.42.1.0 metric 8701",
			"route 10.42.3.0/24 dev weft-wg0 proto 87 src 10.42.1.0 (was",
		},
		{
			"a pair that was not heard of goes as it begins", 1, auto, always, "",
			"~ route 10.42.2.0/24 dev weft-wg0 proto 87 src 10.42.1.0 (was: route 10.42.2.0/24 via 10.42.2.0 dev weft-vx", "",
		},
		{"a sealed pair stays on its rung", 1, auto, always, "n2 wireguard 0, n3 relayed 1280", "- route 10.42.2.0/24 via 192.0.2.2 dev eth0 proto 87 src 10.42.1.0 metric 8701", "~ route|+ route"},
		{
			"a node that stands alone", 3, auto, vxlan, "n1 wireguard 0, n2 wireguard 0",
			"~ route 10.42.1.0/24 via 10.42.1.0 dev weft-vx proto 87 src 10.42.3.0 onlink (was: route 10.42.1.0/24 dev weft-wg0|- route 10.42.1.0/24 dev weft-wg0 proto 87 src 10.42.3.0 metric 8710|" +
				"~ route fd42:42:0:1::/64 via|+ addr 10.42.3.0 peer 10.42.3.1/32 dev weft-vx|- link weft-wg0", "+ route 10.42.1.0/24 ",
		},
		{"nothing", 1, auto, auto, "n2 direct 1400, n3 punched 0", "", "route"},
	} {
		n := &weftv1.NodePlan{
			Node: fmt.Sprint("n", c.node), Before: threeNodes(c.was), After: threeNodes(c.is),
			Report: &weftv1.NodeReport{VtepMac: fmt.Sprintf("02:57:00:00:00:%02x", c.node), Addresses: []*weftv1.NodeAddress{{Address: fmt.Sprintf("192.0.2.%d/24", c.node), Device: "eth0", Mtu: 1500}}},
		}
		for _, s := range strings.Split(c.sends, ", ") {
			m := &weftv1.NodeSending{}
			if _, err := fmt.Sscan(s, &m.Peer, &m.Rung, &m.Mtu); err == nil {
				n.Sends = append(n.Sends, m)
			}
		}
		got, err := stepsOf(n)
		if err != nil {
			t.Fatal(err)
		}
		has := func(text string) bool {
			return slices.ContainsFunc(got.Steps, func(s string) bool { return strings.Contains(s, text) })
		}
		for _, text := range strings.FieldsFunc(c.want, bar) {
			if !has(text) {
				t.Errorf("%s: no %q in\n%s", c.what, text, strings.Join(got.Steps, "\n"))
			}
		}
		for _, text := range strings.FieldsFunc(c.none, bar) {
			if has(text) {
				t.Errorf("%s: %q in\n%s", c.what, text, strings.Join(got.Steps, "\n"))
			}
		}
	}
}

func bar(r rune) bool { return r == '|' }

// TestMovesSayWhereTheyStand: of pairs that move, it is told by which way they go now.
func TestMovesSayWhereTheyStand(t *testing.T) {
	auto := intent.Cluster{Backend: intent.Auto, Encryption: intent.EncryptUntrusted}
	plans := []*weftv1.NodePlan{
		{Node: "n1", Before: threeNodes(auto), After: threeNodes(intent.Cluster{Backend: intent.VXLAN}), Sends: []*weftv1.NodeSending{{Peer: "n2", Rung: "direct"}, {Peer: "n3", Rung: "relayed"}}},
		{Node: "n2", Before: threeNodes(auto), After: threeNodes(intent.Cluster{Backend: intent.VXLAN}), Sends: []*weftv1.NodeSending{{Peer: "n3", Rung: "wireguard"}, {Peer: "n1", Rung: "vxlan"}}},
	}
	want := `3 pairs move, each when its new way is proved or prepared at both ends; the old one goes after the last
  2  wireguard -> vxlan: backend vxlan  (n1-n3, n2-n3)
     now: 1 relayed, 1 wireguard
     CUT OFF, as far as is known: 1 of them. VXLAN goes to a node's own address, and these meet through routers or relays, which backend auto and wireguard find  (n1-n3)
  1  direct, vxlan or wireguard -> vxlan: backend vxlan  (n1-n2)
     now: 1 direct
`
	if got := movesText(movesOf(plans)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestCutOff: who goes by VXLAN alone needs the other's own address.
func TestCutOff(t *testing.T) {
	peer := func(name, addr string, nat intent.NAT) intent.Peer {
		return intent.Peer{Name: name, NAT4: nat, Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix(addr), Device: "eth0", MTU: 1500}}}
	}
	for _, c := range []struct {
		what    string
		backend intent.Backend
		addr    string
		nat     intent.NAT
		now     string
		want    bool
	}{
		{"a router before one", intent.VXLAN, "192.168.1.3/24", intent.NATEasy, "wireguard", true},
		{"and nobody has said how they go", intent.VXLAN, "192.168.1.3/24", intent.NATBlocked, "", true},
		{"but they go in the clear", intent.VXLAN, "192.168.1.3/24", intent.NATEasy, "vxlan", false},
		{"both behind one router", intent.VXLAN, "192.0.2.3/24", intent.NATEasy, "wireguard", false},
		{"two sites of one subnet", intent.VXLAN, "192.0.2.3/24", intent.NATEasy, "punched", true},
		{"no router is known", intent.VXLAN, "198.51.100.3/24", "", "wireguard", false},
		{"none stands there", intent.VXLAN, "198.51.100.3/24", intent.NATNone, "wireguard", false},
		{"UDP does not pass", intent.VXLAN, "198.51.100.3/24", intent.NATNone, "relayed", true},
		{"gateways, which may be wished", intent.VXLAN, "198.51.100.3/24", intent.NATNone, "relayed (node)", false},
		{"a backend that looks", intent.Auto, "192.168.1.3/24", intent.NATEasy, "punched", false},
	} {
		cluster := intent.Cluster{Backend: c.backend, Encryption: intent.EncryptNever}
		if got := cutOff(cluster, peer("n1", "192.0.2.1/24", intent.NATNone), peer("n3", c.addr, c.nat), c.now); got != c.want {
			t.Errorf("%s: cut off %v, not %v", c.what, got, c.want)
		}
	}
}
