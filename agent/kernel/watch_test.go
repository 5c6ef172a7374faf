package kernel_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// peer is what leads to one peer.
func peer(underlay string) []datapath.Object {
	mac := datapath.MAC{2, 0, 0, 0, 0, 9}
	return []datapath.Object{
		datapath.FDB{Dev: datapath.VXLANLink4, MAC: mac, Dst: addr(underlay)},
		datapath.Neigh{Dev: datapath.VXLANLink4, IP: addr("10.42.9.0"), MAC: mac},
		datapath.Neigh{Dev: datapath.VXLANLink4, IP: addr("fd42:9::"), MAC: mac},
		datapath.Route{Dst: pfx("10.42.9.0/24"), Via: addr("10.42.9.0"), Dev: datapath.VXLANLink4, OnLink: true, Src: addr("10.42.1.0"), MTU: 1400},
		datapath.Route{Dst: pfx("fd42:9::/64"), Via: addr("fd42:9::"), Dev: datapath.VXLANLink4, OnLink: true, Src: addr("fd42:1::"), MTU: 1400},
	}
}

// watched runs Watch until the test ends.
func watched(t *testing.T, k *kernel.Kernel) <-chan datapath.Kinds {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	kicks, done := make(chan datapath.Kinds, 4096), make(chan error)
	go func() { done <- k.Watch(ctx, func(kinds datapath.Kinds) { kicks <- kinds }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	if first := <-kicks; first != datapath.AllKinds {
		t.Fatalf("first kick %b", first)
	}
	return kicks
}

func TestWatch(t *testing.T) {
	k := open(t)
	want := merge(t, []datapath.Object{
		datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450},
		datapath.Link{Name: datapath.VXLANLink4, Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: addr("10.0.0.1")}},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("10.42.1.0/32")},
		datapath.FDB{Dev: datapath.VXLANLink4, MAC: datapath.MAC{2, 0, 0, 0, 0, 9}, Dst: addr("10.0.0.9")},
		datapath.Neigh{Dev: datapath.VXLANLink4, IP: addr("10.42.9.0"), MAC: datapath.MAC{2, 0, 0, 0, 0, 9}},
		datapath.Route{Dst: pfx("10.42.9.0/24"), Via: addr("10.42.9.0"), Dev: datapath.VXLANLink4, OnLink: true, Src: addr("10.42.1.0")},
		datapath.Sysctl{Path: "net/ipv4/conf/weft0/rp_filter", Value: "2"},
		datapath.Chain{Name: "c"},
		datapath.Set{Name: "s", Type: "ipv4_addr"},
		datapath.Element{Set: "s", Elem: "10.0.0.1"},
		datapath.Rule{Chain: "c", Index: 1, Do: [3]datapath.Action{{Verb: datapath.Accept}}},
	})
	converge(t, k, want)
	kicks := watched(t, k)
	for _, tt := range []struct {
		hand string
		kind datapath.Kind
	}{
		{"ip route del 10.42.9.0/24", datapath.KindRoute},
		{"ip neigh del 10.42.9.0 dev weft-vx", datapath.KindNeigh},
		{"bridge fdb del 02:00:00:00:00:09 dev weft-vx dst 10.0.0.9 self", datapath.KindFDB},
		{"ip addr del 10.42.1.0/32 dev weft0", datapath.KindAddr},
		{"ip link set weft-vx down", datapath.KindLink},
		{"ip link set weft-vx mtu 1300", datapath.KindLink},
		{"ip link del weft-vx", datapath.KindLink},
		{"ip link del weft0", datapath.KindLink},
		{"sysctl -q -w net.ipv4.conf.weft0.rp_filter=1", datapath.KindSysctl},
		{"nft delete element inet weft s { 10.0.0.1 }", datapath.KindElement},
		{"nft flush chain inet weft c", datapath.KindRule},
		{"nft add rule inet weft c drop", datapath.KindRule},
		{"nft delete table inet weft", datapath.KindChain},
		{"nft flush ruleset", datapath.KindSet},
	} {
		kerneltest.Run(t, tt.hand)
		for start := time.Now(); ; {
			if kinds := <-kicks; !kinds.Has(tt.kind) {
				continue
			}
			seen := time.Since(start)
			converge(t, k, want)
			t.Logf("%-70s seen after %8v, repaired after %8v", tt.hand, seen.Round(time.Microsecond), time.Since(start).Round(time.Microsecond))
			break
		}
	}
}

// TestWatchForeignRoutes: whose route it is does not matter where ours should be.
func TestWatchForeignRoutes(t *testing.T) {
	k := open(t)
	kerneltest.Run(t, "ip link add eth0 type veth peer name eth1")
	kerneltest.Run(t, "ip link set eth1 up")
	kerneltest.Run(t, "ip link set eth0 up")
	kerneltest.Run(t, "ip addr add 192.0.2.1/24 dev eth0")
	devices := []datapath.Object{
		datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450},
		datapath.Link{Name: datapath.VXLANLink4, Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: addr("10.0.0.1")}},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("10.42.1.0/32")},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("fd42:1::/128")},
	}
	converge(t, k, merge(t, devices, peer("10.0.0.9")))
	kicks := watched(t, k)
	for _, hand := range []string{
		"ip route replace 10.42.9.0/24 via 192.0.2.9 dev eth0",
		"ip route del 10.42.9.0/24 via 192.0.2.9 dev eth0",
		"ip route add 10.42.9.128/25 via 192.0.2.9 dev eth0",
		"ip -6 route add fd42:9:0:0:1::/80 dev eth0",
	} {
		kerneltest.Run(t, hand)
		for start := time.Now(); ; {
			if kinds := <-kicks; kinds == datapath.Of(datapath.KindRoute) {
				t.Logf("%s: seen after %v", hand, time.Since(start))
				break
			}
		}
	}
}

// TestWatchIsQuiet: our own transactions, our own peers, and what happens to
// others' objects wake nobody.
func TestWatchIsQuiet(t *testing.T) {
	k := open(t)
	kerneltest.Run(t, "ip link add eth0 type veth peer name eth1")
	kerneltest.Run(t, "ip link set eth1 up")
	kerneltest.Run(t, "ip link set eth0 up")
	kerneltest.Run(t, "ip addr add 192.0.2.1/24 dev eth0")
	devices := []datapath.Object{
		datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450},
		datapath.Link{Name: datapath.VXLANLink4, Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: addr("10.0.0.1")}},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("10.42.1.0/32")},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("fd42:1::/128")},
	}
	converge(t, k, merge(t, devices))
	kicks := watched(t, k)
	firewall := slices.Concat(everyRule(), everySet(), datapath.BaseChains())
	converge(t, k, merge(t, firewall, devices, peer("10.0.0.9")))
	// A route of ours by hand wakes us, and nothing before it: events come in order.
	byHand := func(command string) {
		kerneltest.Run(t, command)
		for kinds := range kicks {
			if kinds.Has(datapath.KindLink) || kinds.Has(datapath.KindAddr) {
				continue // the veth's carrier and its own address come when the kernel likes
			}
			if kinds != datapath.Of(datapath.KindRoute) {
				t.Errorf("kicked %b before %s", kinds, command)
			}
			return
		}
	}
	byHand("ip route add 203.0.113.0/24 via 192.0.2.9 proto 87 metric 7")
	byHand("ip route del 203.0.113.0/24 via 192.0.2.9 proto 87 metric 7")
	converge(t, k, merge(t, firewall, devices, peer("10.0.0.8"))) // it moved
	kerneltest.Run(t, "ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0")
	kerneltest.Run(t, "ip route add 198.51.100.0/24 via 192.0.2.9")
	kerneltest.Run(t, "nft add table inet other")
	kerneltest.Run(t, "nft add chain inet other c { type filter hook input priority 0 ; }")
	kerneltest.Run(t, "nft add table ip weft")
	byHand("ip route add 198.51.100.0/24 via 192.0.2.9 proto 87 metric 7")
}
