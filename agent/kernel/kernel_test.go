package kernel_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

var discard = slog.New(slog.DiscardHandler)

func open(t testing.TB) *kernel.Kernel {
	t.Helper()
	kerneltest.Netns(t)
	k, err := kernel.Open(discard, kernel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// TestNode is all of a node with one peer, in both families.
func TestNode(t *testing.T) {
	k := open(t)

	want, err := datapath.Merge([]datapath.Object{
		datapath.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"},
		datapath.Link{Name: "weft0", Type: "bridge", MTU: 1450},
		datapath.Link{Name: "weft-vx", Type: "vxlan", MTU: 1450, MAC: datapath.MAC{2, 0x57, 0, 0, 0, 1}, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: addr("10.0.0.1"), CheckOff: true}},
		datapath.Link{Name: "weft-vx6", Type: "vxlan", MTU: 1430, MAC: datapath.MAC{2, 0x57, 0, 0, 0, 2}, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: addr("fd00::1")}},
		datapath.Sysctl{Path: "net/ipv4/conf/weft0/rp_filter", Value: "2"},
		datapath.Sysctl{Path: "net/ipv6/conf/weft-vx/disable_ipv6", Value: "0"},
		datapath.Addr{Dev: "weft0", Prefix: pfx("10.42.1.0/32")},
		datapath.Addr{Dev: "weft0", Prefix: pfx("fd42:42:0:1::/128")},
		datapath.FDB{Dev: "weft-vx", MAC: datapath.MAC{2, 0x57, 0, 0, 0, 9}, Dst: addr("10.0.0.9")},
		datapath.FDB{Dev: "weft-vx6", MAC: datapath.MAC{2, 0x57, 0, 0, 0, 9}, Dst: addr("fd00::9")},
		datapath.Neigh{Dev: "weft-vx", IP: addr("10.42.9.0"), MAC: datapath.MAC{2, 0x57, 0, 0, 0, 9}},
		datapath.Neigh{Dev: "weft-vx", IP: addr("fd42:42:0:9::"), MAC: datapath.MAC{2, 0x57, 0, 0, 0, 9}},
		datapath.Route{Dst: pfx("10.42.1.0/24"), Type: datapath.Blackhole, Metric: 8799},
		datapath.Route{Dst: pfx("fd42:42:0:1::/64"), Type: datapath.Blackhole, Metric: 8799},
		datapath.Route{Dst: pfx("10.42.9.0/24"), Via: addr("10.42.9.0"), Dev: "weft-vx", OnLink: true, Src: addr("10.42.1.0"), MTU: 1400},
		datapath.Route{Dst: pfx("fd42:42:0:9::/64"), Via: addr("fd42:42:0:9::"), Dev: "weft-vx", OnLink: true, Src: addr("fd42:42:0:1::"), MTU: 1400},
		datapath.Route{Dst: pfx("10.42.1.5/32"), Dev: "weft0", Src: addr("10.42.1.0")},
		datapath.Route{Dst: pfx("fd42:42:0:1::5/128"), Dev: "weft0", Src: addr("fd42:42:0:1::")},
	})
	if err != nil {
		t.Fatal(err)
	}
	converge(t, k, want)
}

func converge(t testing.TB, k *kernel.Kernel, want datapath.State) {
	t.Helper()
	ctx := context.Background()
	have, err := k.Observe(ctx, datapath.AllKinds)
	if err != nil {
		t.Fatal(err)
	}
	ops := datapath.Diff(want, have)
	for i, err := range k.Apply(ctx, ops) {
		if err != nil {
			t.Errorf("%v: %v", ops[i], err)
		}
	}
	if have, err = k.Observe(ctx, datapath.AllKinds); err != nil {
		t.Fatal(err)
	}
	for _, op := range datapath.Diff(want, have) {
		t.Errorf("still: %v", op)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// TestNoRouteEver: a kernel makes table main with the first route in it. One with
// a rule of its own does not even make it with lo.
func TestNoRouteEver(t *testing.T) {
	kerneltest.Netns(t)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil { // another, with lo down: nothing was ever routed there
		t.Fatal(err)
	}
	k, err := kernel.Open(discard, kernel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for _, before := range []string{"true", "ip rule add from 192.0.2.1 lookup 100", "ip link set lo up"} {
		kerneltest.Run(t, before)
		if _, err := k.Observe(context.Background(), datapath.AllKinds); err != nil {
			t.Errorf("%s: %v", before, err)
		}
		if _, err := k.Host(context.Background()); err != nil {
			t.Errorf("%s: %v", before, err)
		}
	}
}
