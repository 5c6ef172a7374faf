package kernel_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

func TestHost(t *testing.T) {
	k := open(t)
	for _, line := range []string{
		"ip link add eth0 address 02:00:00:00:00:01 mtu 1400 type veth peer name wire0",
		"ip link add eth1 address 02:00:00:00:00:02 type veth peer name wire1",
		"ip link set wire0 up", "ip link set wire1 up", "ip link set eth0 up", "ip link set eth1 up",
		"ip link set eth0 addrgenmode none",
		"ip -6 addr flush dev eth0", "ip -6 addr flush dev eth1",
		"ip addr add 192.0.2.1/24 dev eth0", "ip addr add 192.0.2.2/24 dev eth0",
		"ip addr add fd00::1/64 dev eth1 nodad", "ip addr add fd00::2/64 dev eth1 nodad preferred_lft 0",
		"ip route add default via 192.0.2.254 metric 200",
		"ip route add default metric 100 nexthop via 192.0.2.253 dev eth0 nexthop via 192.0.2.252 dev eth0",
		"ip route add blackhole default metric 300",
		"ip -6 route add default via fd00::fe dev eth1",
	} {
		kerneltest.Run(t, line)
	}
	h, err := k.Host(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var links []datapath.HostLink
	for _, l := range h.Links {
		if strings.HasPrefix(l.Name, "eth") {
			l.Index = 0
			links = append(links, l)
		}
	}
	var addrs []datapath.HostAddr
	for _, a := range h.Addrs {
		if strings.HasPrefix(a.Link, "eth") {
			addrs = append(addrs, a)
		}
	}
	if d := cmp.Diff([]datapath.HostLink{
		{Name: "eth0", Type: "veth", MTU: 1400, MAC: datapath.MAC{2, 0, 0, 0, 0, 1}, Up: true},
		{Name: "eth1", Type: "veth", MTU: 1500, MAC: datapath.MAC{2, 0, 0, 0, 0, 2}, Up: true},
	}, links); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]datapath.HostAddr{
		{Link: "eth0", Prefix: pfx("192.0.2.1/24")},
		{Link: "eth0", Prefix: pfx("192.0.2.2/24"), Secondary: true},
		{Link: "eth1", Prefix: pfx("fd00::1/64")},
		{Link: "eth1", Prefix: pfx("fd00::2/64"), Deprecated: true},
	}, addrs, cmp.Comparer(func(a, b datapath.HostAddr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]datapath.HostDefault{
		{Link: "eth0", Via: addr("192.0.2.253"), Metric: 100, Is4: true},
		{Link: "eth0", Via: addr("192.0.2.252"), Metric: 100, Is4: true},
		{Link: "eth0", Via: addr("192.0.2.254"), Metric: 200, Is4: true},
		{Link: "eth1", Via: addr("fd00::fe"), Metric: 1024},
	}, h.Defaults, cmp.Comparer(func(a, b datapath.HostDefault) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

// TestForeign: what bears a name of ours, or stands where ours should, is named
// with what to do, and left as it is.
func TestForeign(t *testing.T) {
	link := datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450}
	vx := datapath.Link{Name: datapath.VXLANLink4, Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: addr("192.0.2.1")}}
	for _, tt := range []struct {
		name   string
		before []string
		step   datapath.Object
		says   string
		stays  string // a command whose output stays
	}{
		{"a device of our name", []string{"ip link add weft0 type veth peer name wire"}, link, "ip link delete weft0", "ip link show weft0"},
		{"a VXLAN device of our name and another's kind", []string{"ip link add weft-vx type bridge"}, vx, "ip link delete weft-vx", "ip link show weft-vx"},
		{"a VXLAN device with our VNI", []string{"ip link add other type vxlan id 4096 local 192.0.2.1 dstport 8472 nolearning"}, vx, "VNI 4096 on port 8472", "ip -d link show other"},
		{"a VXLAN device that holds the port", []string{"ip link add other type vxlan external dstport 8472", "ip link set other up"}, vx, "", "ip -d link show other"},
		{
			"a route to a destination of ours",
			[]string{"ip link add weft0 type bridge", "ip link set weft0 up", "ip route add 10.42.2.0/24 dev weft0 proto static"},
			datapath.Route{Dst: pfx("10.42.2.0/24"), Type: datapath.Blackhole},
			"ip route del 10.42.2.0/24 proto static", "ip route",
		},
		{
			"an IPv6 route to a destination of ours",
			[]string{"ip link add weft0 type bridge", "ip link set weft0 up", "ip route add fd42::/64 dev weft0 proto static"},
			datapath.Route{Dst: pfx("fd42::/64"), Dev: "weft0"},
			"ip route del fd42::/64 proto static", "ip -6 route show fd42::/64",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := open(t)
			for _, line := range tt.before {
				kerneltest.Run(t, line)
			}
			before := kerneltest.Run(t, tt.stays)
			err := k.Apply(context.Background(), []datapath.Op{{New: tt.step}})[0]
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v does not say %q", err, tt.says)
			}
			t.Log(err)
			if after := kerneltest.Run(t, tt.stays); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}
