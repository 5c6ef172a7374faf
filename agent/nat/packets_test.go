package nat_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/proto/intent"
)

// TestMain lets the test's own binary be the program that speaks TCP inside a
// namespace.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("WEFT_T_SERVE") != "":
		serve(os.Getenv("WEFT_T_SERVE"))
	case os.Getenv("WEFT_T_DIAL") != "":
		dial(os.Getenv("WEFT_T_DIAL"), os.Getenv("WEFT_T_FROM"), os.Getenv("WEFT_T_WAIT"))
	default:
		os.Exit(m.Run())
	}
}

// serve tells each caller which address it has, until standard input ends.
func serve(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		fmt.Fprint(c, netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().Unmap())
		c.Close()
	}
}

// dial prints what the server says, or that there was no answer.
func dial(addr, from, wait string) {
	patience, err := time.ParseDuration(wait)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		fmt.Print(silence)
		os.Exit(0)
	}
	_, _ = io.Copy(os.Stdout, c)
	os.Exit(0)
}

// places are namespaces by what they are: node, out, web, other.
type places map[string]string

func (p places) command(place string, words ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + p[place]}, words...)...)
}

func (p places) run(t *testing.T, place, line string) {
	t.Helper()
	if out, err := p.command(place, strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %s: %v\n%s", place, line, err, out)
	}
}

// serve starts a server that ends with the test.
func (p places) serve(t *testing.T, place, addr string) {
	t.Helper()
	cmd := p.command(place, os.Args[0])
	cmd.Env = append(os.Environ(), "WEFT_T_SERVE="+addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("server in %s: %v", place, err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("server in %s: %s %v", place, line, err)
	}
}

const silence = "no answer"

// dial returns what the server saw. Where silence is expected it is awaited for
// a moment only, else longer than a slow machine needs.
func (p places) dial(t *testing.T, place, addr, from, expect string) string {
	t.Helper()
	wait := 10 * time.Second
	if expect == silence {
		wait = 500 * time.Millisecond
	}
	cmd := p.command(place, os.Args[0])
	// A race detector sleeps for a second when its program ends.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "WEFT_T_DIAL="+addr, "WEFT_T_FROM="+from, "WEFT_T_WAIT="+wait.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dial in %s: %v", place, err)
	}
	return string(out)
}

// world builds a node with two pods and something outside, with weft's rules.
func world(t *testing.T) places {
	t.Helper()
	kerneltest.Netns(t)
	p := places{"node": fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())}
	for _, name := range []string{"out", "web", "other"} {
		ns := fmt.Sprintf("weft-t-%d-%s", os.Getpid(), name)
		kerneltest.Run(t, "ip netns add "+ns)
		t.Cleanup(func() { kerneltest.Run(t, "ip netns del "+ns) })
		p[name] = "/run/netns/" + ns
		p.run(t, name, "ip link set lo up")
	}
	for _, line := range []string{
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
		"ip link add weft0 type bridge", "ip link set weft0 up",
		"ip addr add 10.42.1.0/32 dev weft0", "ip addr add fd42:42:0:1::/128 dev weft0 nodad",
		"ip link add up0 type veth peer name eth0 netns " + strings.TrimPrefix(p["out"], "/run/netns/"),
		"ip link set up0 up", "ip addr add 192.0.2.1/24 dev up0", "ip addr add 2001:db8::1/64 dev up0 nodad",
	} {
		p.run(t, "node", line)
	}
	for _, line := range []string{
		"ip link set eth0 up", "ip addr add 192.0.2.2/24 dev eth0", "ip addr add 2001:db8::2/64 dev eth0 nodad",
	} {
		p.run(t, "out", line)
	}
	p.pod(t, "web", "wf00000000001", "10.42.1.5", "fd42:42:0:1::5")
	p.pod(t, "other", "wf00000000002", "10.42.1.6", "fd42:42:0:1::6")
	return p
}

func (p places) pod(t *testing.T, place, dev, ip4, ip6 string) {
	t.Helper()
	for _, line := range []string{
		"ip link add " + dev + " type veth peer name eth0 netns " + strings.TrimPrefix(p[place], "/run/netns/"),
		"ip link set " + dev + " up", "ip addr add fe80::1/64 dev " + dev + " nodad",
		"ip route add " + ip4 + " dev " + dev, "ip -6 route add " + ip6 + " dev " + dev,
	} {
		p.run(t, "node", line)
	}
	for _, line := range []string{
		"ip link set eth0 up", "ip addr add " + ip4 + "/32 dev eth0", "ip addr add " + ip6 + "/128 dev eth0 nodad",
		"ip route add default via 10.42.1.0 dev eth0 onlink", "ip -6 route add default via fe80::1 dev eth0",
	} {
		p.run(t, place, line)
	}
}

// install programs the rules with package kernel.
func install(t *testing.T, n nat.Node) {
	t.Helper()
	objects, err := nat.Objects(n)
	if err != nil {
		t.Fatal(err)
	}
	want, err := datapath.Merge(objects)
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernel.Open(slog.New(slog.DiscardHandler), kernel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ops := datapath.Diff(want, datapath.State{})
	for i, err := range k.Apply(t.Context(), ops) {
		if err != nil {
			t.Fatalf("%v: %v", ops[i], err)
		}
	}
	have, err := k.Observe(t.Context(), datapath.AllKinds)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range datapath.Diff(want, have) {
		if op.New != nil {
			t.Errorf("the kernel reads back another rule: %v", op)
		}
	}
}

// TestPackets sends real packets: who dials what, and which address the server
// sees.
func TestPackets(t *testing.T) {
	p := world(t)
	pfx, addr := netip.MustParsePrefix, netip.MustParseAddr
	n := nat.Node{
		Cluster: intent.Cluster{CIDRs: []netip.Prefix{pfx("10.42.0.0/16"), pfx("fd42:42::/48")}, Masquerade: []netip.Prefix{pfx("10.42.0.0/16"), pfx("fd42:42::/48")}},
		Lease:   []netip.Prefix{pfx("10.42.1.0/24"), pfx("fd42:42:0:1::/64")},
		Guard:   []bool{true, false},
	}
	for _, pod := range []string{"10.42.1.5", "fd42:42:0:1::5"} {
		n.HostPorts = append(n.HostPorts,
			nat.HostPort{Proto: "tcp", HostPort: 8080, Pod: addr(pod), PodPort: 80, Dev: "wf00000000001"})
	}
	n.HostPorts = append(n.HostPorts,
		nat.HostPort{HostIP: addr("192.0.2.1"), Proto: "tcp", HostPort: 8081, Pod: addr("10.42.1.5"), PodPort: 80, Dev: "wf00000000001"})
	install(t, n)
	p.serve(t, "web", ":80")
	p.serve(t, "out", ":90")
	p.serve(t, "node", "127.0.0.1:70")
	p.run(t, "web", "ip addr add 10.42.1.99/32 dev eth0")
	p.run(t, "web", "ip addr add fd42:42:0:1::99/128 dev eth0 nodad")
	for _, c := range []struct{ what, place, addr, from, sees string }{
		{"hostPort from outside", "out", "192.0.2.1:8080", "", "192.0.2.2"},
		{"hostPort from outside, IPv6", "out", "[2001:db8::1]:8080", "", "2001:db8::2"},
		{"hostPort on a named address", "out", "192.0.2.1:8081", "", "192.0.2.2"},
		{"no hostPort", "out", "192.0.2.1:8082", "", silence},
		{"hostPort from the node", "node", "192.0.2.1:8080", "", "192.0.2.1"},
		{"hostPort from the node, IPv6", "node", "[2001:db8::1]:8080", "", "2001:db8::1"},
		{"hostPort on the fabric address", "node", "10.42.1.0:8080", "", "10.42.1.0"},
		{"hostPort on loopback, with the node's address", "node", "127.0.0.1:8080", "", "10.42.1.0"},
		{"hostPort on a named address is not on loopback", "node", "127.0.0.1:8081", "", silence},
		{"hostPort from another pod keeps its address", "other", "192.0.2.1:8080", "", "10.42.1.6"},
		{"hostPort from another pod, IPv6", "other", "[2001:db8::1]:8080", "", "fd42:42:0:1::6"},
		{"hostPort from the pod itself", "web", "192.0.2.1:8080", "10.42.1.5", "10.42.1.0"},
		{"hostPort from the pod itself, IPv6", "web", "[2001:db8::1]:8080", "fd42:42:0:1::5", "fd42:42:0:1::"},
		{"pod to pod", "other", "10.42.1.5:80", "", "10.42.1.6"},
		{"pod to the world", "other", "192.0.2.2:90", "", "192.0.2.1"},
		{"pod to the world, IPv6", "other", "[2001:db8::2]:90", "", "2001:db8::1"},
		{"spoofed source", "web", "192.0.2.2:90", "10.42.1.99", silence},
		{"spoofed source, IPv6", "web", "[2001:db8::2]:90", "fd42:42:0:1::99", silence},
	} {
		if sees := p.dial(t, c.place, c.addr, c.from, c.sees); sees != c.sees {
			t.Errorf("%s: %s dials %s: the server sees %q, want %q", c.what, c.place, c.addr, sees, c.sees)
		}
	}
	p.loopbackIsTheNodes(t)
}

// loopbackIsTheNodes: route_localnet stands on the pod's device, and yet a pod
// that routes 127.0.0.0/8 to the node reaches nothing there (CVE-2020-8558).
func (p places) loopbackIsTheNodes(t *testing.T) {
	t.Helper()
	for _, line := range []string{
		"sysctl -qw net.ipv4.conf.all.route_localnet=1",
		"ip addr del 127.0.0.1/8 dev lo", "ip route flush table local 127.0.0.0/8",
		"ip route replace 127.0.0.1 via 10.42.1.0 dev eth0 onlink src 10.42.1.5",
	} {
		p.run(t, "web", line)
	}
	if sees := p.dial(t, "web", "127.0.0.1:70", "10.42.1.5", silence); sees != silence {
		t.Errorf("a pod reached the node's loopback and was seen as %q", sees)
	}
	p.run(t, "node", "nft flush chain inet weft antispoof")
	if sees := p.dial(t, "web", "127.0.0.1:70", "10.42.1.5", "10.42.1.5"); sees != "10.42.1.5" {
		t.Errorf("without the rule a pod is to reach the node's loopback, or this proves nothing: %q", sees)
	}
}

// TestGuard: a host whose forwarding weft switched on is no router for others.
func TestGuard(t *testing.T) {
	p := world(t)
	pfx := netip.MustParsePrefix
	p.run(t, "node", "ip addr add 198.51.100.1/24 dev wf00000000002")
	p.run(t, "other", "ip addr add 198.51.100.2/24 dev eth0")
	p.run(t, "out", "ip route add 198.51.100.0/24 via 192.0.2.1")
	p.serve(t, "out", ":90")
	n := nat.Node{
		Cluster: intent.Cluster{CIDRs: []netip.Prefix{pfx("10.42.0.0/16")}, Masquerade: []netip.Prefix{pfx("10.42.0.0/16")}},
		Lease:   []netip.Prefix{pfx("10.42.1.0/24")},
	}
	install(t, n)
	if sees := p.dial(t, "other", "192.0.2.2:90", "198.51.100.2", "198.51.100.2"); sees != "198.51.100.2" {
		t.Errorf("without the guard %q", sees)
	}
	n.Guard = []bool{true, false}
	install(t, n)
	if sees := p.dial(t, "other", "192.0.2.2:90", "198.51.100.2", silence); sees != silence {
		t.Errorf("with the guard %q", sees)
	}
	if sees := p.dial(t, "other", "192.0.2.2:90", "10.42.1.6", "192.0.2.1"); sees != "192.0.2.1" {
		t.Errorf("a pod with the guard %q", sees)
	}
}

// TestTunnel: a pod cannot send what a peer would take for the fabric's VXLAN, in
// either family, to a peer or to its own node, not even when others have
// translated it. All other datagrams pass, and no hostPort takes the fabric's.
func TestTunnel(t *testing.T) {
	p := world(t)
	const port, vni = 8472, 4096
	pfx, addr := netip.MustParsePrefix, netip.MustParseAddr
	pods := []netip.Prefix{pfx("10.42.0.0/16"), pfx("fd42:42::/48")}
	n := nat.Node{
		Cluster: intent.Cluster{CIDRs: pods, Masquerade: pods, Backend: intent.VXLAN, VXLANPort: port, VNI: vni},
		Lease:   []netip.Prefix{pfx("10.42.1.0/24"), pfx("fd42:42:0:1::/64")},
	}
	for _, pod := range []string{"10.42.1.5", "fd42:42:0:1::5"} {
		n.HostPorts = append(n.HostPorts, nat.HostPort{Proto: "udp", HostPort: port, Pod: addr(pod), PodPort: 99})
	}
	install(t, n)
	p.run(t, "node", "nft add table inet other")
	p.run(t, "node", "nft add chain inet other pre { type nat hook prerouting priority -100 ; }")
	p.run(t, "node", "nft add rule inet other pre ip daddr 203.0.113.1 udp dport 53 dnat ip to 192.0.2.2:8472")
	for _, c := range []struct {
		what, from, to string
		at             string // where it is to be received, and how
		listen         string
		vni            uint32
		arrives        bool
	}{
		{"to a peer", "other", "192.0.2.2:8472", "out", ":8472", vni, false},
		{"to a peer, IPv6", "other", "[2001:db8::2]:8472", "out", ":8472", vni, false},
		{"to its own node", "other", "192.0.2.1:8472", "node", ":8472", vni, false},
		{"to its own node, IPv6", "other", "[fe80::1%eth0]:8472", "node", ":8472", vni, false},
		{"through a Service", "other", "203.0.113.1:53", "out", ":8472", vni, false},
		{"another VNI", "other", "192.0.2.2:8472", "out", ":8472", vni + 1, true},
		{"another VNI, IPv6", "other", "[2001:db8::2]:8472", "out", ":8472", vni + 1, true},
		{"another port", "other", "192.0.2.2:8473", "out", ":8473", vni, true},
		{"a peer's, with a hostPort", "out", "192.0.2.1:8472", "node", ":8472", vni, true},
		{"a peer's, with a hostPort, IPv6", "out", "[2001:db8::1]:8472", "node", ":8472", vni, true},
	} {
		if got := p.datagram(t, c.from, c.to, c.at, c.listen, c.vni); got != c.arrives {
			t.Errorf("%s: VNI %d from %s to %s arrives: %v, want %v", c.what, c.vni, c.from, c.to, got, c.arrives)
		}
	}
}

// datagram sends a VXLAN header and tells whether it is received within a moment.
func (p places) datagram(t *testing.T, from, to, at, listen string, vni uint32) bool {
	t.Helper()
	c := in(t, p[at], func() (net.PacketConn, error) { return net.ListenPacket("udp", listen) })
	defer c.Close()
	s := in(t, p[from], func() (net.Conn, error) { return net.Dial("udp", to) })
	defer s.Close()
	header := binary.BigEndian.AppendUint32(nil, 0x08000000) // RFC 7348, section 5
	if _, err := s.Write(binary.BigEndian.AppendUint32(header, vni<<8)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	size, _, err := c.ReadFrom(make([]byte, 64))
	return err == nil && size == 8
}

// in runs a function in a namespace.
func in[T any](t *testing.T, path string, open func() (T, error)) (out T) {
	t.Helper()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		t.Fatal(err)
	}
	out, openErr := open()
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
	if openErr != nil {
		t.Fatal(openErr)
	}
	return out
}
