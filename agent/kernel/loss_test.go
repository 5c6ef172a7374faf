package kernel_test

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// TestMoveLosesNothing: a peer moves between a direct path, VXLAN, and VXLAN of
// another number, in both families, while packets flow.
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
		in + "ip link add weft-vy address 02:57:00:00:00:02 type vxlan id 5000 local 192.0.2.2 dstport 8472 nolearning",
		in + "ip link set weft-vy up",
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
		datapath.Link{Name: datapath.SpareLink4, Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: 5000, Port: 8472, Local: addr("192.0.2.1")}},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("10.42.1.0/32")},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("fd42:0:0:1::/128")},
	}
	tunnel := func(dev string) datapath.State {
		return merge(t, node, []datapath.Object{
			datapath.FDB{Dev: dev, MAC: mac, Dst: addr("192.0.2.2")},
			datapath.Neigh{Dev: dev, IP: addr("10.42.2.0"), MAC: mac},
			datapath.Neigh{Dev: dev, IP: addr("fd42:0:0:2::"), MAC: mac},
			datapath.Route{Dst: pfx("10.42.2.0/24"), Via: addr("10.42.2.0"), Dev: dev, OnLink: true, Src: addr("10.42.1.0")},
			datapath.Route{Dst: pfx("fd42:0:0:2::/64"), Via: addr("fd42:0:0:2::"), Dev: dev, OnLink: true, Src: addr("fd42:0:0:1::")},
		})
	}
	paths := []datapath.State{
		tunnel(datapath.VXLANLink4),
		tunnel(datapath.SpareLink4),
		merge(t, node, []datapath.Object{
			datapath.Route{Dst: pfx("10.42.2.0/24"), Via: addr("192.0.2.2"), Dev: "eth0", Src: addr("10.42.1.0")},
			datapath.Route{Dst: pfx("fd42:0:0:2::/64"), Via: addr("fd00::2"), Dev: "eth0", Src: addr("fd42:0:0:1::")},
		}),
	}
	converge(t, k, paths[0])
	for _, dev := range []string{datapath.VXLANLink4, datapath.SpareLink4} { // what finds no neighbour is lost, not kept until there is one again
		kerneltest.Run(t, "sysctl -q -w net.ipv4.neigh."+dev+".unres_qlen_bytes=0 net.ipv6.neigh."+dev+".unres_qlen_bytes=0")
	}
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
				converge(t, k, paths[(moves+1)%len(paths)])
			}
		}
		if !strings.Contains(out.String(), " 0% packet loss") {
			t.Errorf("%d moves lost packets:\n%s", moves, out.String())
		}
		t.Logf("%s: %d moves: %s", target, moves, strings.TrimSpace(out.String()))
	}
}

// TestNothingGoesBeforeWhatRestsOnIt: the kernel refuses a route of IPv6 at first,
// because another device's covers its gateway. What the old one rests on stays until
// the route is another.
func TestNothingGoesBeforeWhatRestsOnIt(t *testing.T) {
	k := open(t)
	tunnel := func(dev string) datapath.State {
		mac := datapath.MAC{2, 0x57, 0, 0, 0, 2}
		var node []datapath.Object
		for i, name := range []string{datapath.VXLANLink4, datapath.SpareLink4} {
			node = append(node, datapath.Link{Name: name, Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: uint32(4096 + i), Port: 8472, Local: addr("192.0.2.1")}})
		}
		return merge(t, node, []datapath.Object{
			datapath.FDB{Dev: dev, MAC: mac, Dst: addr("192.0.2.2")},
			datapath.Neigh{Dev: dev, IP: addr("fd42:0:0:2::"), MAC: mac},
			datapath.Route{Dst: pfx("fd42:0:0:2::/64"), Via: addr("fd42:0:0:2::"), Dev: dev, OnLink: true},
		})
	}
	converge(t, k, tunnel(datapath.VXLANLink4))
	monitor := exec.CommandContext(t.Context(), "ip", "-o", "-6", "monitor", "route", "neigh")
	pipe, err := monitor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1024)
	go func() {
		for s := bufio.NewScanner(pipe); s.Scan(); {
			select {
			case lines <- s.Text():
			default:
			}
		}
	}()
	route := ""
	for gone, move := 0, 0; gone < 20; {
		select {
		case line := <-lines:
			switch {
			case strings.HasPrefix(line, "fd42:0:0:2::/64 "):
				route = line
			case strings.HasPrefix(line, "Deleted fd42:0:0:2:: dev ") && !strings.Contains(line, "proto") && route != "":
				gone++
				if dev := strings.Fields(line)[3]; strings.Contains(route, "dev "+dev+" ") {
					t.Fatalf("%s\nwhile packets go by\n%s", line, route)
				}
			}
		default: // whether the monitor listens is known by what it says
			if move++; move > 10_000 {
				t.Fatal("ip monitor tells of no neighbour that goes")
			}
			converge(t, k, tunnel([]string{datapath.VXLANLink4, datapath.SpareLink4}[move%2]))
		}
	}
}
