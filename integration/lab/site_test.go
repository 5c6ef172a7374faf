package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// minute is far more than any of these tests needs.
func minute(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newFabric(t *testing.T, layout Layout) *Fabric {
	t.Helper()
	f, err := NewFabric(minute(t), t.TempDir(), layout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// udp opens a port of a host's. Packets go out whole or not at all.
func udp(t *testing.T, h *Host, port uint16) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := within(h.Path(), func() error {
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
			})
			return errors.Join(err, failed)
		}}
		l, err := config.ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(h.addrs[0].Addr(), port).String())
		if err == nil {
			c = l.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// arrives sends packets of so many bytes until one arrives, and returns whom it came
// from. What is dropped is known by time alone.
func arrives(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn, size int) (netip.AddrPort, bool) {
	t.Helper()
	b, text := make([]byte, 2000), []byte(fmt.Sprintf("%-*s", size-28, t.Name())) // less IPv4 and UDP
	for range 10 {
		if _, err := from.WriteToUDPAddrPort(text, to); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
		if err := at.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, seen, err := at.ReadFromUDPAddrPort(b)
		switch {
		case err == nil && string(b[:n]) == string(text):
			return netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port()), true
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatal(err)
		}
	}
	return netip.AddrPort{}, false
}

const wg = 51820 // a port to keep

// TestNAT: what each kind of router does to a port, for two destinations, and to what
// comes to that port unasked.
func TestNAT(t *testing.T) {
	for _, tt := range []struct {
		kind       NAT
		out        bool // UDP goes out
		kept, same bool // the port is kept, and the same for both destinations
		in         bool // what nobody asked for comes in
		clash      bool // what nobody asked for takes the port, for its source
	}{
		{kind: Public, out: true, kept: true, same: true, in: true},
		{kind: Preserving, out: true, kept: true, same: true},
		{kind: Symmetric, out: true},
		{kind: Answering, out: true, kept: true, same: true, clash: true},
		{kind: TCPOnly},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			f := newFabric(t, Layout{Nodes: 2, Under: "4", NATs: []NAT{tt.kind, Public}})
			node, other := udp(t, f.Nodes[0], wg), udp(t, f.Nodes[1], wg)
			a, b := udp(t, f.Server, 7443), udp(t, f.Server, 7444)
			outer := netip.AddrPortFrom(f.Outside(f.Nodes[0]).addrs[0].Addr(), wg)
			if _, in := arrives(t, other, outer, node, 100); in != tt.in {
				t.Errorf("unasked, a packet comes in: %v", in)
			}
			x, out := arrives(t, node, addrOf(a), a, 100)
			if out != tt.out {
				t.Fatalf("UDP goes out: %v", out)
			}
			if !out {
				return
			}
			y, _ := arrives(t, node, addrOf(b), b, 100)
			z, _ := arrives(t, node, addrOf(other), other, 100)
			if x.Addr() != outer.Addr() || y.Addr() != outer.Addr() || (x.Port() == wg) != tt.kept || (x == y) != tt.same {
				t.Errorf("seen as %v and %v", x, y)
			}
			if (z == x) != (tt.same && !tt.clash) {
				t.Errorf("seen as %v, and as %v by who had sent before", x, z)
			}
			if _, in := arrives(t, a, x, node, 100); !in {
				t.Error("an answer does not come in")
			}
		})
	}
}

// TestOpeners: where routers take what nobody asked for, two nodes meet by packets
// that open their own router and do not come to the other.
func TestOpeners(t *testing.T) {
	f := newFabric(t, Layout{Nodes: 2, Under: "4", NATs: []NAT{Answering, Answering}})
	var ends [2]*net.UDPConn
	var outer [2]netip.AddrPort
	for i, n := range f.Nodes {
		ends[i], outer[i] = udp(t, n, wg), netip.AddrPortFrom(f.Outside(n).addrs[0].Addr(), wg)
	}
	for i, c := range ends {
		for _, hops := range []int{2, 3, 4, 64} {
			raw, err := c.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var failed error
			if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, hops) }); errors.Join(err, failed) != nil {
				t.Fatal(err, failed)
			}
			if hops == 64 {
				break
			}
			if _, err := c.WriteToUDPAddrPort([]byte("open"), outer[1-i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, c := range ends {
		if from, ok := arrives(t, c, outer[1-i], ends[1-i], 100); from != outer[i] {
			t.Errorf("what n%d sends arrives: %v, from %v", i+1, ok, from)
		}
	}
}

// TestTCPOnly: of TCP two ports go out.
func TestTCPOnly(t *testing.T) {
	ctx, f := minute(t), newFabric(t, Layout{Nodes: 1, NATs: []NAT{TCPOnly}})
	for port, out := range map[int]bool{443: true, 7443: true, 8080: false} {
		if _, err := page(ctx, t, f.Nodes[0], f.Server, port); (err == nil) != out {
			t.Errorf("port %d: %v", port, err)
		}
	}
}

// TestBeside: of two nodes behind one router, one gets another port.
func TestBeside(t *testing.T) {
	f := newFabric(t, Layout{Nodes: 3, Under: "4", NATs: []NAT{Preserving, Beside, Public}})
	to := udp(t, f.Nodes[2], wg)
	x, _ := arrives(t, udp(t, f.Nodes[0], wg), addrOf(to), to, 100)
	y, _ := arrives(t, udp(t, f.Nodes[1], wg), addrOf(to), to, 100)
	if x.Addr() != y.Addr() || x.Port() != wg || y.Port() == wg || !y.IsValid() {
		t.Errorf("seen as %v and %v", x, y)
	}
	if n, m := f.Nodes[0].addrs[0], f.Nodes[1].addrs[0]; n == m || n.Masked() != m.Masked() {
		t.Errorf("they are %v and %v", n, m)
	}
}

// TestRefusing: of two nodes behind one router that use one port, only the first gets out,
// and the other does by another port.
func TestRefusing(t *testing.T) {
	f := newFabric(t, Layout{Nodes: 3, Under: "4", NATs: []NAT{Refusing, Beside, Public}})
	to := udp(t, f.Nodes[2], wg)
	x, _ := arrives(t, udp(t, f.Nodes[0], wg), addrOf(to), to, 100)
	if x.Port() != wg {
		t.Errorf("the first is seen as %v", x)
	}
	if y, out := arrives(t, udp(t, f.Nodes[1], wg), addrOf(to), to, 100); out {
		t.Errorf("the second is seen as %v", y)
	}
	if y, _ := arrives(t, udp(t, f.Nodes[1], wg+2), addrOf(to), to, 100); y.Port() != wg+2 || y.Addr() != x.Addr() {
		t.Errorf("by another port it is seen as %v", y)
	}
}

// TestSameLAN: two nodes have one address, and are two others outside.
func TestSameLAN(t *testing.T) {
	ctx, f := minute(t), newFabric(t, Layout{Nodes: 2, NATs: []NAT{Preserving, Symmetric}, SameLAN: true})
	if n, m := f.NodeIPs(f.Nodes[0]), f.NodeIPs(f.Nodes[1]); strings.Join(n, ",") != strings.Join(m, ",") {
		t.Errorf("they are %v and %v", n, m)
	}
	for _, n := range f.Nodes {
		if p, err := page(ctx, t, n, f.Server, 7443); !strings.HasSuffix(p, "by "+f.NodeIPs(f.Outside(n))[0]+"\n") {
			t.Error(p, err)
		}
	}
}

// TestNATsBad: what is no layout is refused, with the reason.
func TestNATsBad(t *testing.T) {
	for _, tt := range []struct {
		nats string
		want string
	}{
		{"public", "2 nodes stand behind 1 kinds of NAT"},
		{"public cone", `no kind of NAT "cone"`},
		{"public +", "n2 is beside a node that has no router"},
		{"+ public", "n1 is beside a node that has no router"},
	} {
		var nats []NAT
		for _, w := range strings.Fields(tt.nats) {
			nats = append(nats, NAT(w))
		}
		if _, err := NewFabric(minute(t), t.TempDir(), Layout{Nodes: 2, NATs: nats}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.nats, err)
		}
	}
}

// TestWire: what a wire loses is one direction's, of one match, or of one length.
func TestWire(t *testing.T) {
	for _, nats := range [][]NAT{nil, {Public, Preserving}, {Preserving, Beside}} {
		t.Run(fmt.Sprint(nats), func(t *testing.T) {
			ctx, f := minute(t), newFabric(t, Layout{Nodes: 2, Under: "4", NATs: nats})
			n2, n1 := f.Nodes[0], f.Nodes[1] // who stands behind a router sends first
			a, b := udp(t, n1, wg), udp(t, n2, wg)
			sends := func(what string, size int, want bool) {
				t.Helper()
				if _, got := arrives(t, a, addrOf(b), b, size); got != want {
					t.Errorf("%s: a packet of %d bytes arrives: %v", what, size, got)
				}
			}
			do := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			sends("at first", 1400, true)
			do(f.Lose(ctx, n1, n2, 100, "udp dport 51820"))
			sends("all lost", 100, false)
			if from, ok := arrives(t, b, peerOf(f, n1, n2, a), a, 100); !ok && nats == nil {
				t.Errorf("nothing arrives the other way, %v", from)
			}
			do(f.Pass(ctx, n1, n2))
			do(f.Lose(ctx, n1, n2, 100, "udp dport 51821"))
			sends("others lost", 100, true)
			do(f.Pass(ctx, n1, n2))
			do(f.Swallow(ctx, n1, n2, 1300))
			sends("up to 1300", 1300, true)
			sends("up to 1300", 1301, false)
			do(f.Pass(ctx, n1, n2))
			sends("at last", 1400, true)
		})
	}
}

// peerOf is where the second host reaches the first.
func peerOf(f *Fabric, n1, n2 *Host, at *net.UDPConn) netip.AddrPort {
	if n1.sw == n2.sw {
		return addrOf(at)
	}
	return netip.AddrPortFrom(f.Outside(n1).addrs[0].Addr(), addrOf(at).Port())
}

// TestRoam: a host is reached at its new addresses, and reaches others from them,
// whether it shares a link with them or not, twice.
func TestRoam(t *testing.T) {
	for _, nats := range [][]NAT{nil, {Public}, {Symmetric}} {
		ctx, f := minute(t), newFabric(t, Layout{Nodes: 1, NATs: nats})
		n := f.Nodes[0]
		for range 2 {
			before := f.NodeIPs(f.Outside(n))
			if err := f.Outside(n).Roam(ctx); err != nil {
				t.Fatal(err)
			}
			now := f.NodeIPs(f.Outside(n))
			for i := range now {
				if now[i] == before[i] {
					t.Errorf("%v: still at %s", nats, now[i])
				}
			}
			if p, err := page(ctx, t, n, f.Server, 7443); !strings.HasSuffix(p, "by "+now[0]+"\n") {
				t.Errorf("%v: %s %v", nats, p, err)
			}
			if out, err := f.Server.Run(ctx, "ping", "-c", "1", "-W", "1", now[1]); err != nil {
				t.Errorf("%v: %s", nats, out)
			}
		}
	}
}

// TestSockets: hosts have a folder each for the sockets of WireGuard devices, the
// same for each of their commands, empty after a boot, and no other files of theirs.
func TestSockets(t *testing.T) {
	ctx, f := minute(t), newFabric(t, Layout{Nodes: 2})
	for _, n := range f.Nodes {
		if out, err := n.Run(ctx, "sh", "-c", "echo "+n.Name+" >/var/run/wireguard/x; echo "+n.Name+" >>"+f.Dir+"/all"); err != nil {
			t.Fatal(out, err)
		}
	}
	if out, err := f.Nodes[0].Run(ctx, "cat", "/var/run/wireguard/x", f.Dir+"/all"); out != "n1\nn1\nn2\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := os.Stat(wireguardSockets + "/x"); err == nil {
		t.Error("a host's socket is the machine's")
	}
	if err := f.Nodes[0].Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := f.Nodes[0].Run(ctx, "ls", "-A", "/var/run/wireguard"); out != "" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// TestSnoop: a flow is read where its packets go by, and nowhere else.
func TestSnoop(t *testing.T) {
	ctx, f := minute(t), newFabric(t, Layout{Nodes: 3, Under: "4"})
	flow, err := StartFlow(f.Nodes[0], f.Nodes[1].addrs[0].Addr(), 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	there, err := f.StartSnoop(f.Nodes[1], flow)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := f.StartSnoop(f.Nodes[2], flow)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := flow.Stop(ctx); err != nil || c.Missing() > 0 {
		t.Fatal(c, err)
	}
	if n, first, err := there.Stop(); n < 50 || len(first) != 14+20+echoSize || err != nil {
		t.Errorf("%d frames were read, the first of %d bytes; %v", n, len(first), err)
	}
	if n, _, err := elsewhere.Stop(); n > 0 || err != nil {
		t.Errorf("%d frames were read elsewhere; %v", n, err)
	}
}
