package kernel_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// TestMoveLosesNothing: a peer moves between a direct path and VXLAN, in both
// families, while packets flow.
func TestMoveLosesNothing(t *testing.T) {
	k := open(t)
	podNetns(t, "peer")
	const in = "ip netns exec weft-t-peer "
	for _, line := range []string{
		"ip link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns weft-t-peer",
		"ip link set eth0 up", "ip addr add 192.0.2.1/24 dev eth0", "ip addr add fd00::1/64 dev eth0 nodad",
		in + "ip link set lo up", in + "ip link set eth0 up",
		in + "ip addr add 192.0.2.2/24 dev eth0", in + "ip addr add fd00::2/64 dev eth0 nodad",
		in + "ip link add weft-vx address 02:57:00:00:00:02 type vxlan id 4096 local 192.0.2.2 dstport 8472 nolearning",
		in + "ip link set weft-vx up",
		in + "ip addr add 10.42.2.0/32 dev lo", in + "ip addr add fd42:0:0:2::/128 dev lo nodad",
		in + "ip route add 10.42.1.0/24 via 192.0.2.1 src 10.42.2.0",
		in + "ip route add fd42:0:0:1::/64 via fd00::1 src fd42:0:0:2::",
	} {
		kerneltest.Run(t, line)
	}
	mac := datapath.MAC{2, 0x57, 0, 0, 0, 2}
	node := []datapath.Object{
		datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450},
		datapath.Link{Name: datapath.VXLANLink4, Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: addr("192.0.2.1")}},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("10.42.1.0/32")},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("fd42:0:0:1::/128")},
	}
	paths := []datapath.State{
		merge(t, node, []datapath.Object{
			datapath.FDB{Dev: datapath.VXLANLink4, MAC: mac, Dst: addr("192.0.2.2")},
			datapath.Neigh{Dev: datapath.VXLANLink4, IP: addr("10.42.2.0"), MAC: mac},
			datapath.Neigh{Dev: datapath.VXLANLink4, IP: addr("fd42:0:0:2::"), MAC: mac},
			datapath.Route{Dst: pfx("10.42.2.0/24"), Via: addr("10.42.2.0"), Dev: datapath.VXLANLink4, OnLink: true, Src: addr("10.42.1.0")},
			datapath.Route{Dst: pfx("fd42:0:0:2::/64"), Via: addr("fd42:0:0:2::"), Dev: datapath.VXLANLink4, OnLink: true, Src: addr("fd42:0:0:1::")},
		}),
		merge(t, node, []datapath.Object{
			datapath.Route{Dst: pfx("10.42.2.0/24"), Via: addr("192.0.2.2"), Dev: "eth0", Src: addr("10.42.1.0")},
			datapath.Route{Dst: pfx("fd42:0:0:2::/64"), Via: addr("fd00::2"), Dev: "eth0", Src: addr("fd42:0:0:1::")},
		}),
	}
	converge(t, k, paths[0])
	kerneltest.Run(t, "ping -q -c 1 -w 5 192.0.2.2") // neighbours of the wire are learned
	kerneltest.Run(t, "ping -q -c 1 -w 5 fd00::2")
	for _, target := range []string{"10.42.2.0", "fd42:0:0:2::"} {
		ping := exec.CommandContext(context.Background(), "ping", "-q", "-i", "0.002", "-c", "500", "-W", "1", target)
		var out strings.Builder
		ping.Stdout, ping.Stderr = &out, &out
		if err := ping.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- ping.Wait() }()
		moves := 0
		for running := true; running; moves++ {
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("ping: %v", err)
				}
				running = false
			default:
				converge(t, k, paths[(moves+1)%2])
			}
		}
		if !strings.Contains(out.String(), " 0% packet loss") {
			t.Errorf("%d moves lost packets:\n%s", moves, out.String())
		}
		t.Logf("%s: %d moves: %s", target, moves, strings.TrimSpace(out.String()))
	}
}
