package intent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	p := netip.MustParsePrefix
	n := Node{
		Name: "n1", Epoch: "e1", Revision: 7,
		Cluster: Cluster{
			CIDRs: []netip.Prefix{p("10.42.0.0/16"), p("fd42:42::/48")}, ServiceCIDRs: []netip.Prefix{p("10.43.0.0/16")}, Backend: VXLAN,
			DirectRouting: true, VNI: 4096, VXLANPort: 8472, MTU: 1400, Masquerade: []netip.Prefix{p("10.42.0.0/16")}, NonMasquerade: []netip.Prefix{p("10.0.0.0/8")},
		},
		Peers: []Peer{
			{Name: "n1", Lease: []netip.Prefix{p("10.42.1.0/24")}},
			{Name: "n2", Lease: []netip.Prefix{p("10.42.2.0/24")}, VTEP: MAC{2, 0x57, 0, 0, 0, 2}, Underlay: []Underlay{{Addr: p("192.0.2.2/24"), Device: "eth0", MTU: 1500}, {Addr: p("2001:db8::2/64"), Device: "eth0", MTU: 1500}}},
		},
		Pause: Pause{ID: "x", For: 10 * time.Minute, By: "ops"},
	}
	want := []string{
		"node n1 epoch e1 revision 7",
		"cluster 10.42.0.0/16,fd42:42::/48 services 10.43.0.0/16 backend vxlan mtu 1400",
		"vxlan id 4096 dstport 8472 directRouting true",
		"masquerade 10.42.0.0/16 but not to 10.0.0.0/8",
		"peer n1 lease 10.42.1.0/24 at none vtep 00:00:00:00:00:00",
		"peer n2 lease 10.42.2.0/24 at 192.0.2.2/24 dev eth0 mtu 1500, 2001:db8::2/64 dev eth0 mtu 1500 vtep 02:57:00:00:00:02",
		"pause for 10m0s by ops: none",
	}
	if diff := cmp.Diff(want, n.Text()); diff != "" {
		t.Error(diff)
	}
	n.Cluster, n.Pause = Cluster{Backend: None}, Pause{}
	if diff := cmp.Diff([]string{want[0], "cluster none services none backend none mtu of each path"}, n.Text()[:2]); diff != "" {
		t.Error(diff)
	}
}
