package userspace_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/userspace"
)

// counted is the sockets of a device, of which what is sent is counted.
type counted struct {
	conn.Bind
	sent atomic.Int64
}

func (c *counted) Send(bufs [][]byte, to conn.Endpoint) error {
	c.sent.Add(int64(len(bufs)))
	return c.Bind.Send(bufs, to)
}

// TestFirstEndpoint: what waits for a peer without an endpoint asks for a session when
// it gets one, not 5 s later.
func TestFirstEndpoint(t *testing.T) {
	kerneltest.Netns(t)
	bind := &counted{Bind: userspace.NewBind()}
	tried := make(chan struct{}, 1)
	d, err := userspace.Open(dev, userspace.Config{Bind: bind, Log: slog.New(says{"Failed to send handshake initiation", tried})})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	peer := strings.Repeat("07", 32)
	ask(t, "private_key="+strings.Repeat("48", 32)+"\nlisten_port=0\npublic_key="+peer+"\nallowed_ip=10.42.2.0/24\n")
	kerneltest.Run(t, "ip link set lo up")
	kerneltest.Run(t, "ip link set "+dev+" up")
	kerneltest.Run(t, "ip addr add 10.42.1.1/32 dev "+dev)
	kerneltest.Run(t, "ip route add 10.42.2.0/24 dev "+dev)
	out, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.42.2.1:9")))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-tried:
	case <-time.After(time.Minute):
		t.Fatal("the device did not try to send")
	}
	if n := bind.sent.Load(); n != 0 {
		t.Fatalf("%d packets were sent to nowhere", n)
	}
	ask(t, "public_key="+peer+"\nupdate_only=true\nendpoint=127.0.0.1:9\n")
	if n := bind.sent.Load(); n != 1 {
		t.Errorf("%d packets were sent with the first endpoint; want 1, which asks for a session", n)
	}
}

// says is a log that tells when a line has some words.
type says struct {
	words string
	heard chan<- struct{}
}

func (s says) Enabled(context.Context, slog.Level) bool { return true }

func (s says) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.Value.String(), s.words) {
			select {
			case s.heard <- struct{}{}:
			default:
			}
		}
		return true
	})
	return nil
}

func (s says) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s says) WithGroup(string) slog.Handler { return s }

// ask has the device changed by its socket.
func ask(t *testing.T, lines string) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "set=1\n%s\n", lines)
	if answer, err := bufio.NewReader(c).ReadString('\n'); err != nil || answer != "errno=0\n" {
		t.Fatalf("%s%q, %v", lines, answer, err)
	}
}
