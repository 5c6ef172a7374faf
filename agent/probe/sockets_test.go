package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/proto/disco"
	"github.com/weft-net/weft/proto/echo"
)

// opened are sockets that run until the test ends, and what they hear.
type opened struct {
	*Sockets
	heard    chan Datagram
	answered chan Reply
}

// open opens sockets in the test's namespace.
func open(t *testing.T) opened {
	t.Helper()
	s, err := Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := opened{s, make(chan Datagram, 64), make(chan Reply, 64)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(d Datagram) { o.heard <- d }, func(r Reply) { o.answered <- r })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return o
}

// within takes what comes, or fails.
func within[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatalf("%s did not come", what)
	}
	return v
}

// packet begins as one of a protocol does, and is as long.
func packet(magic uint32, size int) []byte {
	b := make([]byte, size)
	b[0], b[1], b[2], b[3] = byte(magic>>24), byte(magic>>16), byte(magic>>8), byte(magic)
	return b
}

func hold(t *testing.T, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UDPConn)
}

// A datagram leaves from a port that somebody else holds and comes to another such:
// the holder of that gets it too, with a good checksum, and from the right port.
func TestOuter(t *testing.T) {
	kerneltest.Netns(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		addr := netip.MustParseAddr(host)
		from, to := hold(t, net.JoinHostPort(host, "51820")), hold(t, net.JoinHostPort(host, "51821"))
		s := open(t)
		if err := s.Ports([]uint16{51821}); err != nil {
			t.Fatal(err)
		}
		for _, want := range [][]byte{packet(disco.Magic, disco.Size), packet(echo.Magic, echo.Size)} {
			if err := s.Send(Datagram{Port: 51820, Remote: netip.AddrPortFrom(addr, 51821), Data: want}); err != nil {
				t.Fatal(err)
			}
			d := within(t, s.heard, host)
			if d.Local != addr || d.Port != 51821 || d.Remote != netip.AddrPortFrom(addr, 51820) || string(d.Data) != string(want) || d.At.IsZero() {
				t.Errorf("%s: %+v", host, d)
			}
			b := make([]byte, 1500)
			_ = to.SetReadDeadline(time.Now().Add(time.Minute))
			n, src, err := to.ReadFromUDPAddrPort(b)
			if err != nil || string(b[:n]) != string(want) || src.Port() != 51820 {
				t.Errorf("%s: the port's holder got %x from %v, %v", host, b[:n], src, err)
			}
		}
		_ = from
	}
}

// What the filter refuses is not read. One that it takes comes last, and first.
func TestOuterFilter(t *testing.T) {
	kerneltest.Netns(t)
	s := open(t)
	if err := s.Ports([]uint16{51820, 51821}); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		hold(t, net.JoinHostPort(host, "51820"))
		addr := netip.MustParseAddr(host)
		send := func(port uint16, b []byte) {
			t.Helper()
			if err := s.Send(Datagram{Port: 1000, Remote: netip.AddrPortFrom(addr, port), Data: b}); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatal(err)
			}
		}
		send(51822, packet(disco.Magic, disco.Size))
		send(51820, packet(disco.Magic, disco.Size-1))
		send(51820, packet(disco.Magic, disco.Size+1))
		send(51820, packet(disco.Magic, echo.Size))
		send(51820, packet(echo.Magic, disco.Size))
		send(51820, packet(disco.Magic+7, disco.Size))
		send(51820, packet(0x01000000, 148)) // a handshake of WireGuard
		send(51820, nil)
		last := packet(disco.Magic, disco.Size)
		last[disco.Size-1] = 1
		send(51821, last)
		if d := within(t, s.heard, host); d.Port != 51821 || string(d.Data) != string(last) {
			t.Errorf("%s: %+v came through", host, d)
		}
	}
	if err := s.Ports(nil); err != nil {
		t.Fatal(err)
	}
	hop := netip.MustParseAddrPort("127.0.0.1:51820")
	_ = s.Send(Datagram{Port: 1000, Remote: hop, Data: packet(disco.Magic, disco.Size)})
	if err := s.Ports([]uint16{51820}); err != nil {
		t.Fatal(err)
	}
	last := packet(echo.Magic, echo.Size)
	_ = s.Send(Datagram{Port: 1000, Remote: hop, Data: last})
	if d := within(t, s.heard, "the last"); string(d.Data) != string(last) {
		t.Errorf("%+v came through when no port was open", d)
	}
}

// Two namespaces with a router between: hops run out where they should.
func TestHops(t *testing.T) {
	kerneltest.Netns(t)
	routed(t)
	hold(t, ":51820")
	s := open(t)
	if err := s.Ports([]uint16{51820}); err != nil {
		t.Fatal(err)
	}
	counted := hopsOf(t, "far")
	for _, to := range []string{"10.7.2.2", "fd07:2::2"} {
		for _, c := range []struct{ ttl, want int }{{1, 1}, {2, 2}, {0, hops}} {
			d := Datagram{Port: 51820, Remote: netip.AddrPortFrom(netip.MustParseAddr(to), 51820), TTL: c.ttl, Data: packet(disco.Magic, disco.Size)}
			if err := s.Send(d); err != nil {
				t.Fatal(err)
			}
			if got := counted(to); got != c.want {
				t.Errorf("%s with %d hops: left with %d", to, c.want, got)
			}
		}
	}
}

// routed is a link with both families and a far network behind it.
func routed(t *testing.T) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(`
ip link add near type veth peer name far
ip link set near up
ip link set far up
ip addr add 10.7.1.1/24 dev near
ip -6 addr add fd07:1::1/64 dev near nodad
ip neigh add 10.7.1.2 lladdr 02:00:00:00:00:02 dev near nud permanent
ip -6 neigh add fd07:1::2 lladdr 02:00:00:00:00:02 dev near nud permanent
ip route add 10.7.2.0/24 via 10.7.1.2
ip -6 route add fd07:2::/64 via fd07:1::2`), "\n") {
		kerneltest.Run(t, line)
	}
}

// hopsOf reads what comes to a link, and answers with the hop limit of the next packet
// to an address.
func hopsOf(t *testing.T, dev string) func(to string) int {
	t.Helper()
	link, err := net.InterfaceByName(dev)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: 0x0300, Ifindex: link.Index}); err != nil {
		t.Fatal(err)
	}
	tv := syscall.Timeval{Sec: 60}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	return func(to string) int {
		b := make([]byte, 2048)
		for {
			n, _, err := syscall.Recvfrom(fd, b, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := netip.MustParseAddr(to).AsSlice()
			switch {
			case n >= 20 && b[0]>>4 == 4 && string(b[16:20]) == string(want):
				return int(b[8])
			case n >= 40 && b[0]>>4 == 6 && string(b[24:40]) == string(want):
				return int(b[7])
			}
		}
	}
}

func TestNoWay(t *testing.T) {
	kerneltest.Netns(t)
	s := open(t)
	for _, to := range []string{"203.0.113.1:51820", "[2001:db8::1]:51820"} {
		err := s.Send(Datagram{Port: 51820, Remote: netip.MustParseAddrPort(to), Data: packet(disco.Magic, disco.Size)})
		if !errors.Is(err, syscall.ENETUNREACH) || !strings.Contains(err.Error(), to) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// A request leaves by the device that is named, although the route goes elsewhere, is
// as large as was asked and never in pieces.
func TestInner(t *testing.T) {
	kerneltest.Netns(t)
	pair(t, "one", "10.9.1", "fd09:1::")
	s := open(t)
	for i, c := range []struct {
		dev, from, to string
		size, want    int
	}{
		{"lo", "127.0.0.1", "127.0.0.1", 0, 44},
		{"lo", "::1", "::1", 0, 64},
		{"lo", "127.0.0.1", "127.0.0.1", 1500, 1500},
		{"lo", "::1", "::1", 1381, 1381},
		{"lo", "127.0.0.1", "127.0.0.1", 1381, 1381},
	} {
		r := Request{ID: uint64(i + 1), Dev: c.dev, From: netip.MustParseAddr(c.from), To: netip.MustParseAddr(c.to), Size: c.size}
		if err := s.Inner(r); err != nil {
			t.Fatal(err)
		}
		if got := within(t, s.answered, c.to); got.ID != r.ID || got.From != r.To || got.Size != c.want || got.At.IsZero() {
			t.Errorf("%+v: %+v", r, got)
		}
	}
	for _, to := range []string{"10.9.1.2", "fd09:1::2"} {
		r := Request{Dev: "one", From: netip.MustParseAddr(to).Prev(), To: netip.MustParseAddr(to), Size: 1501}
		if err := s.Inner(r); !errors.Is(err, syscall.EMSGSIZE) || !strings.Contains(err.Error(), "1501 bytes") || !strings.Contains(err.Error(), "through one") {
			t.Errorf("%s: larger than the device takes: %v", to, err)
		}
		r.Dev, r.Size = "none", 0
		if err := s.Inner(r); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("%s: through a device that is not there: %v", to, err)
		}
	}
}

// pair is a link.
func pair(t *testing.T, dev, net4, net6 string) {
	t.Helper()
	kerneltest.Run(t, "ip link add "+dev+" type veth peer name "+dev+"x")
	kerneltest.Run(t, "ip link set "+dev+" up")
	kerneltest.Run(t, "ip link set "+dev+"x up")
	kerneltest.Run(t, "ip addr add "+net4+".1/24 dev "+dev)
	kerneltest.Run(t, "ip -6 addr add "+net6+"1/64 dev "+dev+" nodad")
}

// Two devices with a route each, of which the better goes by the other: the request
// leaves by the one that is named. A device that is made anew is found again.
func TestInnerBound(t *testing.T) {
	kerneltest.Netns(t)
	pair(t, "one", "10.9.1", "fd09:1::")
	pair(t, "two", "10.9.2", "fd09:2::")
	s := open(t)
	standby := func() {
		for _, line := range []string{
			"ip route replace 10.42.7.0/24 dev one metric 0",
			"ip route replace 10.42.7.0/24 dev two metric 8702",
			"ip -6 route replace fd42:7::/64 dev one metric 1024",
			"ip -6 route replace fd42:7::/64 dev two metric 8702",
			"ip neigh replace 10.42.7.0 lladdr 02:00:00:00:00:07 dev two nud permanent",
			"ip -6 neigh replace fd42:7:: lladdr 02:00:00:00:00:07 dev two nud permanent",
		} {
			kerneltest.Run(t, line)
		}
	}
	standby()
	sends := func(what string) {
		t.Helper()
		came := hopsOf(t, "twox") // fails when nothing left by the device
		for _, c := range []struct{ from, to string }{{"10.9.1.1", "10.42.7.0"}, {"fd09:1::1", "fd42:7::"}} {
			if err := s.Inner(Request{ID: 1, Dev: "two", From: netip.MustParseAddr(c.from), To: netip.MustParseAddr(c.to)}); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			came(c.to)
		}
	}
	sends("at first")
	kerneltest.Run(t, "ip link del two")
	pair(t, "two", "10.9.2", "fd09:2::")
	standby()
	sends("made anew")
}

func FuzzParse(f *testing.F) {
	f.Add(append([]byte{0x45}, make([]byte, 40)...), true)
	f.Add(make([]byte, 60), false)
	f.Fuzz(func(t *testing.T, b []byte, is4 bool) {
		if is4 {
			if d, ok := parse4(b); ok && (len(d.Data) > len(b) || !d.Remote.IsValid()) {
				t.Errorf("%+v of %x", d, b)
			}
		} else if d, ok := parse6(netip.IPv6Loopback(), netip.IPv6Loopback(), b); ok && len(d.Data) > len(b) {
			t.Errorf("%+v of %x", d, b)
		}
		_, _ = parseReply(is4, b, [8]byte{})
		_ = destination(b)
	})
}
