package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/agent/overlay"
	"github.com/weft-net/weft/agent/reconcile"
	"github.com/weft-net/weft/proto/intent"
)

// fabric is a dual-stack node with one peer over VXLAN and one on its own link.
func fabric() overlay.Node {
	pfx := netip.MustParsePrefix
	under := func(addrs ...string) (out []intent.Underlay) {
		for _, a := range addrs {
			out = append(out, intent.Underlay{Addr: pfx(a), Device: "up0", MTU: 1500})
		}
		return out
	}
	n := overlay.Node{
		VTEP:     intent.MAC{2, 0x57, 0, 0, 0, 1},
		Underlay: under("10.0.0.1/24", "fd00::1/64"),
		Intent: intent.Node{Name: "n1", Revision: 1, Cluster: intent.Cluster{
			CIDRs: []netip.Prefix{pfx("10.42.0.0/16"), pfx("fd42:42::/48")}, Backend: intent.VXLAN, DirectRouting: true,
			Masquerade: []netip.Prefix{pfx("10.42.0.0/16"), pfx("fd42:42::/48")}, VNI: 4096, VXLANPort: 8472,
		}},
	}
	for i, addrs := range [][]string{{"10.0.0.1/24", "fd00::1/64"}, {"10.9.0.2/24"}, {"10.0.0.3/24", "fd00::3/64"}} {
		n.Intent.Peers = append(n.Intent.Peers, intent.Peer{
			Name: fmt.Sprintf("n%d", i+1), VTEP: intent.MAC{2, 0x57, 0, 0, 0, byte(i + 1)}, Underlay: under(addrs...),
			Lease: []netip.Prefix{pfx(fmt.Sprintf("10.42.%d.0/24", i+1)), pfx(fmt.Sprintf("fd42:42:0:%d::/64", i+1))},
		})
	}
	return n
}

// bench is a loop over the real kernel of a network namespace.
type bench struct {
	*reconcile.Loop
	kernel *kernel.Kernel
	want   datapath.State
	turns  chan struct{}
	netns  string // path of the namespace
}

// run runs a command, split at spaces, inside the namespace. A subtest has a
// goroutine of its own, and so a thread that may be outside: what these tests
// break must never be the machine's own network.
func (b *bench) run(t testing.TB, line string) {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=" + b.netns}, strings.Fields(line)...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// enter makes a namespace that is certainly not the machine's.
func enter(t testing.TB) string {
	t.Helper()
	machine := namespace(t, "/proc/thread-self/ns/net")
	kerneltest.Netns(t)
	path := fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
	if namespace(t, path) == machine {
		t.Fatal("this is the machine's own namespace")
	}
	return path
}

func namespace(t testing.TB, path string) string {
	t.Helper()
	id, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func start(t testing.TB) *bench {
	t.Helper()
	b := &bench{netns: enter(t), turns: make(chan struct{}, 1)}
	for _, line := range []string{
		"ip link add up0 type veth peer name wire",
		"sysctl -qw net.ipv6.conf.up0.keep_addr_on_down=1 net.ipv6.conf.up0.accept_dad=0",
		"ip link set wire up", "ip link set up0 up",
		"ip addr add 10.0.0.1/24 dev up0", "ip addr add fd00::1/64 dev up0 nodad",
		"ip route add default via 10.0.0.254",
	} {
		b.run(t, line)
	}
	k, err := kernel.Open(slog.New(slog.DiscardHandler), kernel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	node := fabric()
	objects, problems := overlay.Objects(node)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	self, _ := node.Intent.Self()
	rules, err := nat.Objects(nat.Node{Cluster: node.Intent.Cluster, Lease: self.Lease})
	if err != nil {
		t.Fatal(err)
	}
	b.kernel = k
	if b.want, err = datapath.Merge(objects, rules); err != nil {
		t.Fatal(err)
	}
	want := reconcile.Want{Objects: objects, Parts: [][]datapath.Object{rules}, Complete: true, Revision: 1}
	b.Loop = reconcile.New(reconcile.Config{
		Kernel: k, Plan: func(context.Context) (reconcile.Want, error) { return want, nil },
		OnTurn: func() {
			select {
			case b.turns <- struct{}{}:
			default:
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.Watch(ctx, b.Kick) })
	g.Go(func() error { return b.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	b.await(t, func() bool { return b.Applied() == 1 && len(b.left(t)) == 0 })
	return b
}

// left is what lies between the kernel and what should be.
func (b *bench) left(t testing.TB) []datapath.Op {
	t.Helper()
	have, err := b.kernel.Observe(t.Context(), datapath.AllKinds)
	if err != nil {
		t.Fatal(err)
	}
	return datapath.Diff(b.want, have)
}

// await asks again after each turn of the loop until something holds.
func (b *bench) await(t testing.TB, holds func() bool) {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !holds() {
		select {
		case <-b.turns:
		case <-deadline.Done():
			t.Fatalf("not reached; left to do: %v; problems: %v", b.left(t), b.Problems())
		}
	}
}

// TestHealsTheKernel undoes by hand what weft made, and sees it come back.
func TestHealsTheKernel(t *testing.T) {
	b := start(t)
	if got := b.Problems(); len(got) > 0 {
		t.Errorf("problems after the start: %v", got)
	}
	var all []time.Duration
	for _, c := range []struct{ name, hand string }{
		{"VXLAN device deleted", "ip link del weft-vx"},
		{"VXLAN device down", "ip link set weft-vx down"},
		{"VXLAN device's MTU", "ip link set weft-vx mtu 1300"},
		{"VXLAN device's MAC", "ip link set weft-vx address 02:00:00:00:00:99"},
		{"fabric device deleted", "ip link del weft0"},
		{"fabric address", "ip addr del 10.42.1.0/32 dev weft0"},
		{"fabric address, IPv6", "ip addr del fd42:42:0:1::/128 dev weft0"},
		{"route", "ip route del 10.42.2.0/24"},
		{"route, IPv6", "ip -6 route del fd42:42:0:2::/64"},
		{"direct route", "ip route del 10.42.3.0/24"},
		{"direct route changed", "ip route replace 10.42.3.0/24 via 10.0.0.77 dev up0 proto 87"},
		{"blackhole", "ip route del blackhole 10.42.1.0/24 metric 8799"},
		{"neighbour", "ip neigh del 10.42.2.0 dev weft-vx"},
		{"neighbour changed", "ip neigh replace 10.42.2.0 lladdr 02:00:00:00:00:99 dev weft-vx nud permanent"},
		{"neighbour, IPv6", "ip neigh del fd42:42:0:2:: dev weft-vx"},
		{"forwarding entry", "bridge fdb del 02:57:00:00:00:02 dev weft-vx"},
		{"forwarding entry changed", "bridge fdb replace 02:57:00:00:00:02 dev weft-vx dst 10.9.9.9 self permanent"},
		{"chain flushed", "nft flush chain inet weft masquerade_"},
		{"set flushed", "nft flush set inet weft vtep4"},
		{"table deleted", "nft delete table inet weft"},
		{"ruleset flushed", "nft flush ruleset"},
		{"forwarding off", "sysctl -qw net.ipv4.ip_forward=0"},
		{"reverse path filter", "sysctl -qw net.ipv4.conf.weft-vx.rp_filter=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(b.Heals())
			began := time.Now()
			b.run(t, c.hand)
			b.await(t, func() bool { return len(b.Heals()) > before && len(b.left(t)) == 0 })
			seen := time.Since(began)
			heal := b.Heals()[before]
			all = append(all, heal.Took)
			t.Logf("kick to repair %v; command to seen whole %v; %d objects", heal.Took, seen, len(b.Heals())-before)
		})
	}
	if len(all) == 0 {
		t.Fatal("nothing was healed")
	}
	slices.Sort(all)
	t.Logf("kick to first repair: median %v, slowest %v of %d", all[len(all)/2], all[len(all)-1], len(all))
}

// TestUplinkGoesAndComes: direct routes are back as soon as the uplink is.
func TestUplinkGoesAndComes(t *testing.T) {
	b := start(t)
	for _, c := range []struct {
		name       string
		away, back []string
	}{
		{"down and up", []string{"ip link set up0 down"}, []string{"ip link set up0 up"}},
		{
			"deleted and made again",
			[]string{"ip link del up0"},
			[]string{
				"ip link add up0 type veth peer name wire", "ip link set wire up", "ip link set up0 up",
				"ip addr add 10.0.0.1/24 dev up0", "ip addr add fd00::1/64 dev up0 nodad",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, line := range c.away {
				b.run(t, line)
			}
			b.await(t, func() bool { return len(b.Problems()) > 0 })
			t.Logf("while away: %v", b.Problems()[0])
			began := time.Now()
			for _, line := range c.back {
				b.run(t, line)
			}
			b.await(t, func() bool { return len(b.left(t)) == 0 && len(b.Problems()) == 0 })
			t.Logf("whole %v after the first command", time.Since(began))
		})
	}
}

// TestRestartTouchesNothing: a second loop over the same kernel adopts it.
func TestRestartTouchesNothing(t *testing.T) {
	b := start(t)
	quiet := &counting{Kernel: b.kernel}
	turned := make(chan struct{}, 1)
	objects := slices.Collect(values(b.want))
	l := reconcile.New(reconcile.Config{
		Kernel: quiet,
		Plan: func(context.Context) (reconcile.Want, error) {
			return reconcile.Want{Objects: objects, Complete: true, Revision: 2}, nil
		},
		OnTurn: func() {
			select {
			case turned <- struct{}{}:
			default:
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	<-turned
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(quiet.ops) > 0 {
		t.Errorf("steps of a restart: %v", quiet.ops)
	}
}

type counting struct {
	reconcile.Kernel
	ops []datapath.Op
}

func (c *counting) Apply(ctx context.Context, ops []datapath.Op) []error {
	c.ops = append(c.ops, ops...)
	return c.Kernel.Apply(ctx, ops)
}

func values(s datapath.State) func(func(datapath.Object) bool) {
	return func(yield func(datapath.Object) bool) {
		for _, o := range s {
			if !yield(o) {
				return
			}
		}
	}
}

// BenchmarkKernel is what one look at everything, and one heal, cost with so
// many VXLAN peers in the kernel.
func BenchmarkKernel(b *testing.B) {
	for _, peers := range []int{100, 1000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			enter(b)
			k, err := kernel.Open(slog.New(slog.DiscardHandler), kernel.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer k.Close()
			objects, _ := overlay.Objects(crowd(peers))
			want, err := datapath.Merge(objects)
			if err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			for i, err := range k.Apply(b.Context(), datapath.Diff(want, datapath.State{})) {
				if err != nil {
					b.Fatal(i, err)
				}
			}
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/install")
			for b.Loop() {
				have, err := k.Observe(b.Context(), datapath.AllKinds)
				if err != nil {
					b.Fatal(err)
				}
				if ops := datapath.Diff(want, have); len(ops) > 0 {
					b.Fatal(ops[0])
				}
			}
		})
	}
}

// crowd is fabric with many more peers, none on the node's own link.
func crowd(peers int) overlay.Node {
	n := fabric()
	n.Intent.Cluster.CIDRs[0] = netip.MustParsePrefix("10.0.0.0/8")
	n.Intent.Peers = n.Intent.Peers[:1]
	for i := range peers {
		hi, lo := byte(i>>8), byte(i)
		n.Intent.Peers = append(n.Intent.Peers, intent.Peer{
			Name: fmt.Sprintf("p%04d", i), VTEP: intent.MAC{2, 0x57, 1, 0, hi, lo},
			Lease: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 + hi, lo, 0}), 24),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x42, 0, 0x42, 0, 1, hi, lo}), 64),
			},
			Underlay: []intent.Underlay{{Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, hi, lo}), 16), Device: "up0", MTU: 1500}},
		})
	}
	return n
}
