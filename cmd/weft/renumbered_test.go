package main

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/proto/intent"
)

// TestRenumbered: pairs that keep their transports move where these get other numbers,
// each pair once.
func TestRenumbered(t *testing.T) {
	slots := []intent.Slot{{Slot: 0, Port: 51820}}
	under := func(s string) []intent.Underlay {
		return []intent.Underlay{{Addr: netip.MustParsePrefix(s), Device: "eth0", MTU: 1500}}
	}
	peers := []intent.Peer{{Name: "n1", Slots: slots, Underlay: under("192.0.2.1/24")}, {Name: "n2", Slots: slots, Underlay: under("192.0.2.2/24")}}
	auto := intent.Cluster{Backend: intent.Auto, Encryption: intent.EncryptAlways, VNI: 4096, VXLANPort: 8472, WireGuardPort: 51820}
	site := auto
	site.Encryption = intent.EncryptUntrusted
	vxlan := auto
	vxlan.Backend, vxlan.Encryption = intent.VXLAN, ""
	for _, c := range []struct {
		what   string
		was    intent.Cluster
		change func(*intent.Cluster)
		want   string
	}{
		{"nothing", auto, func(*intent.Cluster) {}, "[]"},
		{"WireGuard's port", auto, func(c *intent.Cluster) { c.WireGuardPort = 51900 }, "[{1 wireguard on UDP 51820 wireguard on UDP 51900 wireguardPort, and new keys [n1-n2] map[] [] 0}]"},
		{"pre-shared keys", auto, func(c *intent.Cluster) { c.PostQuantum = true }, "[{1 wireguard on UDP 51820 wireguard on UDP 51820 with pre-shared keys postQuantum, and new keys [n1-n2] map[] [] 0}]"},
		{"pre-shared keys and a port", auto, func(c *intent.Cluster) { c.PostQuantum, c.WireGuardPort = true, 51900 }, "[{1 wireguard on UDP 51820 wireguard on UDP 51900 with pre-shared keys wireguardPort, and new keys and postQuantum, and new keys [n1-n2] map[] [] 0}]"},
		{"pre-shared keys, where nobody is encrypted", vxlan, func(c *intent.Cluster) { c.PostQuantum = true }, "[]"},
		{"WireGuard's port, where nobody has it", vxlan, func(c *intent.Cluster) { c.WireGuardPort = 51900 }, "[]"},
		{"VXLAN's number", vxlan, func(c *intent.Cluster) { c.VNI = 7 }, "[{1 vxlan 4096 on UDP 8472 vxlan 7 on UDP 8472 vni [n1-n2] map[] [] 0}]"},
		{"VXLAN's port", vxlan, func(c *intent.Cluster) { c.VXLANPort = 8473 }, "[{1 vxlan 4096 on UDP 8472 vxlan 4096 on UDP 8473 vxlanPort [n1-n2] map[] [] 0}]"},
		{"VXLAN's number, where all is encrypted", auto, func(c *intent.Cluster) { c.VNI = 7 }, "[]"},
		{"VXLAN's number, where nodes stand at no site", site, func(c *intent.Cluster) { c.VNI = 7 }, "[]"},
		{
			"both",
			intent.Cluster{Backend: intent.Auto, Encryption: intent.EncryptNever, VNI: 4096, VXLANPort: 8472, WireGuardPort: 51820},
			func(c *intent.Cluster) { c.VNI, c.WireGuardPort = 7, 51900 }, "[{1 vxlan 4096 on UDP 8472 vxlan 7 on UDP 8472 vni [n1-n2] map[] [] 0}]",
		},
	} {
		is := c.was
		c.change(&is)
		if got := fmt.Sprint(moves(intent.Node{Cluster: c.was, Peers: peers}, intent.Node{Cluster: is, Peers: peers}, nil)); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, got, c.want)
		}
	}
}
