package kernel_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// TestWireGuardRoams: two nodes on one wire, whose tunnel goes by IPv4 and by IPv6 in
// turns, while one sets the other's endpoint, the prefixes that a peer may have change,
// and an address goes for another. No packet is lost, and the other end follows.
func TestWireGuardRoams(t *testing.T) {
	a := openWG(t)
	here, there := another(t)
	users := kerneltest.NewUserspace(t)
	b, err := kernel.Open(discard, kernel.Config{Keyring: kerneltest.NewKeyring(), Userspace: users})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	enter(t, here)
	wire := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wire0"}, PeerName: "wire1", PeerNamespace: netlink.NsFd(int(there))}
	if err := netlink.LinkAdd(wire); err != nil {
		t.Fatal(err)
	}

	end := func(slot, own, other byte, self, peer string) []datapath.Object {
		p := wgPeer(slot, other, peer+"/32")
		return []datapath.Object{
			wgLink(slot, own), p,
			datapath.Addr{Dev: datapath.WGLink(slot), Prefix: pfx(self + "/32")},
			datapath.Route{Dst: pfx(peer + "/32"), Dev: datapath.WGLink(slot), Src: addr(self)},
		}
	}
	ofA, ofB := end(0, 1, 2, "10.42.1.0", "10.42.2.0"), end(1, 2, 1, "10.42.2.0", "10.42.1.0")
	up(t, "wire0", "192.0.2.1/24", "2001:db8::1/64")
	converge(t, a.Kernel, merge(t, ofA))
	client, err := net.ListenPacket("udp4", "10.42.1.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	enter(t, there)
	up(t, "wire1", "192.0.2.2/24", "2001:db8::2/64")
	converge(t, b, merge(t, ofB))
	server, err := net.ListenPacket("udp4", "10.42.2.0:7")
	if err != nil {
		t.Fatal(err)
	}
	enter(t, here)
	echoes(t, server)
	peer := ofA[1].(datapath.WGPeer)
	set := func(to datapath.WGPeer) {
		t.Helper()
		if err := a.Apply(context.Background(), []datapath.Op{{Old: peer, New: to}})[0]; err != nil {
			t.Fatal(err)
		}
		peer = to
	}
	endpoints := []string{"192.0.2.2:51821", "[2001:db8::2]:51821"}
	for n := range byte(60) {
		to := peer
		to.Endpoint = netip.MustParseAddrPort(endpoints[n%2])
		if n%3 == 1 {
			to.Allowed = "10.42.2.0/32,10.42.3.0/24"
		} else {
			to.Allowed = "10.42.2.0/32"
		}
		set(to)
		answered(t, client, server.LocalAddr(), n)
		if n == 30 { // by IPv4, and the answer has told by which source
			kerneltest.Run(t, "ip address delete 192.0.2.1/24 dev wire0")
			kerneltest.Run(t, "ip address add 192.0.2.3/24 dev wire0")
		}
		answered(t, client, server.LocalAddr(), n+100)
	}
	list, err := b.WGPeers(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.Dev == datapath.WGLink1 && p.Endpoint.Addr() != addr("2001:db8::1") {
			t.Errorf("the other end did not follow: %v", p)
		}
	}
}

// another makes a namespace beside the one that the thread is in, and enters it.
func another(t *testing.T) (here, there netns.NsHandle) {
	t.Helper()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if there, err = netns.Get(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	kerneltest.Run(t, "ip link set lo up")
	return here, there
}

// echoes sends back what comes, until the test ends.
func echoes(t *testing.T, c net.PacketConn) {
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-echoed })
}

// answered sends one packet, and waits for its echo.
func answered(t *testing.T, c net.PacketConn, to net.Addr, n byte) {
	t.Helper()
	if _, err := c.WriteTo([]byte{n}, to); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var got [1]byte
	if _, _, err := c.ReadFrom(got[:]); errors.Is(err, os.ErrDeadlineExceeded) || got[0] != n {
		t.Fatalf("packet %d: %d, %v", n, got, err)
	}
}

func enter(t *testing.T, ns netns.NsHandle) {
	t.Helper()
	if err := netns.Set(ns); err != nil {
		t.Fatal(err)
	}
}

// up gives a device addresses that can be used at once.
func up(t *testing.T, dev string, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		line := "ip address add " + a + " dev " + dev
		if addr(strings.Split(a, "/")[0]).Is6() {
			line += " nodad"
		}
		kerneltest.Run(t, line)
	}
	kerneltest.Run(t, "ip link set "+dev+" up")
}
