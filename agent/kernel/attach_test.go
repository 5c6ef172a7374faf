package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// podNetns makes a named namespace and returns its path.
func podNetns(t testing.TB, name string) string {
	t.Helper()
	name = "weft-t-" + name
	kerneltest.Run(t, "ip netns add "+name)
	t.Cleanup(func() { kerneltest.Run(t, "ip netns del "+name) })
	return "/run/netns/" + name
}

func attachment(path string) kernel.Attachment {
	return kernel.Attachment{
		HostDev: "wf0123456789a", IfName: "eth0", NetNS: path, MTU: 1450,
		MAC: datapath.MAC{2, 0x57, 1, 0, 0, 5}, HostMAC: datapath.MAC{2, 0x57, 1, 0, 0, 6},
		Addrs:    []netip.Prefix{netip.MustParsePrefix("10.42.1.5/32"), netip.MustParsePrefix("fd42:0:0:1::5/128")},
		Gateways: []netip.Addr{netip.MustParseAddr("10.42.1.0"), netip.MustParseAddr("fe80::1")},
	}
}

// hostEnd is what package pod wants of the host's end.
func hostEnd(a kernel.Attachment) []datapath.Object {
	return []datapath.Object{
		datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: netip.MustParsePrefix("10.42.1.0/32")},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: netip.MustParsePrefix("fd42:0:0:1::/128")},
		datapath.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"},
		datapath.Sysctl{Path: "net/ipv6/conf/all/forwarding", Value: "1"},
		datapath.Link{Name: a.HostDev, Type: datapath.LinkVeth, MTU: a.MTU, MAC: a.HostMAC},
		datapath.Sysctl{Path: "net/ipv4/conf/" + a.HostDev + "/rp_filter", Value: "2"},
		datapath.Addr{Dev: a.HostDev, Prefix: netip.MustParsePrefix("fe80::1/64")},
		datapath.Route{Dst: a.Addrs[0], Dev: a.HostDev, Src: netip.MustParseAddr("10.42.1.0")},
		datapath.Route{Dst: a.Addrs[1], Dev: a.HostDev, Src: netip.MustParseAddr("fd42:0:0:1::")},
	}
}

func TestAttach(t *testing.T) {
	k, ctx := open(t), context.Background()
	path := podNetns(t, "attach")
	a := attachment(path)
	for range 2 { // repeated after a crash
		got, err := k.Attach(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		if want := (kernel.Attached{MAC: a.MAC, HostMAC: a.HostMAC, MTU: 1450}); got != want {
			t.Errorf("attached %+v, want %+v", got, want)
		}
		converge(t, k, merge(t, hostEnd(a)))
	}
	if _, err := k.CheckAttached(ctx, a); err != nil {
		t.Error(err)
	}
	in := "ip netns exec weft-t-attach "
	kerneltest.Run(t, in+"ping -c 1 -W 1 10.42.1.0")
	kerneltest.Run(t, in+"ping -c 1 -W 1 fd42:0:0:1::")
	kerneltest.Run(t, "ping -c 1 -W 1 10.42.1.5")
	kerneltest.Run(t, "ping -c 1 -W 1 fd42:0:0:1::5")
	if out := kerneltest.Run(t, "ip -6 addr show dev "+a.HostDev); strings.Count(out, "inet6") != 1 {
		t.Errorf("the kernel invented an address:\n%s", out)
	}

	for _, tt := range []struct{ broken, says string }{
		{"ip link set eth0 mtu 1400", "MTU is 1400 instead of 1450"},
		{"ip addr del 10.42.1.5/32 dev eth0", "address 10.42.1.5/32 is missing"},
		{"ip route del default", "default route via 10.42.1.0 is missing"},
		{"ip -6 route del default", "default route via fe80::1 is missing"},
		{"ip neigh del 10.42.1.0 dev eth0", "permanent neighbour 10.42.1.0 is 00:00:00:00:00:00 instead of 02:57:01:00:00:06"},
		{"ip neigh replace fe80::1 lladdr 02:00:00:00:00:01 dev eth0", "permanent neighbour fe80::1 is 02:00:00:00:00:01 instead of"},
		{"ip link set eth0 down", "it is down"},
		{"ip link set eth0 address 02:00:00:00:00:01", "MAC address"},
	} {
		kerneltest.Run(t, in+tt.broken)
		if _, err := k.CheckAttached(ctx, a); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v does not say %q", tt.broken, err, tt.says)
		}
		if _, err := k.Attach(ctx, a); err != nil {
			t.Errorf("%s: %v", tt.broken, err)
		}
		if _, err := k.CheckAttached(ctx, a); err != nil {
			t.Errorf("%s, then attached again: %v", tt.broken, err)
		}
	}
	for range 2 {
		if err := k.Detach(ctx, a.HostDev); err != nil {
			t.Error(err)
		}
	}
	if _, err := k.CheckAttached(ctx, a); err == nil {
		t.Error("found what was detached")
	}
}

// TestStrictARP: the host answers ARP only for addresses of the device that it is
// asked on, as kube-proxy sets it for IPVS; the gateway is on another.
func TestStrictARP(t *testing.T) {
	k, ctx := open(t), context.Background()
	for _, set := range []string{"arp_ignore=2", "arp_announce=2"} {
		kerneltest.Run(t, "sysctl -qw net.ipv4.conf.all."+set)
	}
	a := attachment(podNetns(t, "strict"))
	if _, err := k.Attach(ctx, a); err != nil {
		t.Fatal(err)
	}
	converge(t, k, merge(t, hostEnd(a)))
	for _, to := range []string{"10.42.1.0", "fd42:0:0:1::"} {
		kerneltest.Run(t, "ip netns exec weft-t-strict ping -c 5 -i 0.2 -W 1 "+to) // some answer: carrier comes late
	}
	kerneltest.Run(t, "ping -c 5 -i 0.2 -W 1 10.42.1.5")
}

func TestAttachRefuses(t *testing.T) {
	k, ctx := open(t), context.Background()
	path := podNetns(t, "refuse")
	own := "/proc/" + itoa(os.Getpid()) + "/task/" + itoa(unix.Gettid()) + "/ns/net"
	for _, tt := range []struct {
		name   string
		change func(*kernel.Attachment)
		is     error
		before string
	}{
		{"bad no such namespace", func(a *kernel.Attachment) { a.NetNS = "/run/netns/weft-t-nosuch" }, kernel.ErrNetNSGone, ""},
		{"bad a file that is no namespace", func(a *kernel.Attachment) { a.NetNS = "/etc/passwd" }, kernel.ErrNetNSGone, ""},
		{"bad the agent's own namespace", func(a *kernel.Attachment) { a.NetNS = own }, kernel.ErrOwnNetNS, ""},
		{"bad host end's name", func(a *kernel.Attachment) { a.HostDev = "eth7" }, nil, ""},
		{"bad somebody's device in the pod", func(*kernel.Attachment) {}, kernel.ErrTaken, "ip netns exec weft-t-refuse ip link add eth0 type bridge"},
		{"bad somebody's device on the host", func(a *kernel.Attachment) { a.IfName = "eth1" }, nil, "ip link add wf0123456789a type bridge"},
	} {
		// No subtest: that would run outside of the namespace.
		if tt.before != "" {
			kerneltest.Run(t, tt.before)
		}
		a := attachment(path)
		tt.change(&a)
		if _, err := k.Attach(ctx, a); err == nil || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.is)
		}
	}
}

// TestAttachLeftover: the pod's end of an earlier try is in a namespace that died
// or was given anew.
func TestAttachLeftover(t *testing.T) {
	k, ctx := open(t), context.Background()
	a := attachment(podNetns(t, "one"))
	if _, err := k.Attach(ctx, a); err != nil {
		t.Fatal(err)
	}
	a.NetNS = podNetns(t, "two")
	if _, err := k.Attach(ctx, a); err != nil {
		t.Fatal(err)
	}
	converge(t, k, merge(t, hostEnd(a)))
	if _, err := k.CheckAttached(ctx, a); err != nil {
		t.Error(err)
	}
}

// TestAttachAtOnce: pods come and go together, each as if it were alone.
func TestAttachAtOnce(t *testing.T) {
	k, ctx := open(t), context.Background()
	const n = 16
	attachments := make([]kernel.Attachment, n)
	for i := range attachments {
		a := attachment(podNetns(t, "many"+itoa(i)))
		a.HostDev = fmt.Sprintf("wf%011x", i)
		a.MAC[5], a.HostMAC[5] = byte(i), byte(i+n)
		a.Addrs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, 1, byte(i + 1)}), 32)}
		a.Gateways = a.Gateways[:1]
		attachments[i] = a
	}
	for _, do := range []func(kernel.Attachment) error{
		func(a kernel.Attachment) error { _, err := k.Attach(ctx, a); return err },
		func(a kernel.Attachment) error { return k.Detach(ctx, a.HostDev) },
	} {
		var g errgroup.Group
		start := time.Now()
		for _, a := range attachments {
			g.Go(func() error { return do(a) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d at once took %v", n, time.Since(start).Round(time.Millisecond))
	}
	if left := kerneltest.Run(t, "ip -o link show type veth"); left != "" {
		t.Errorf("left:\n%s", left)
	}
}
