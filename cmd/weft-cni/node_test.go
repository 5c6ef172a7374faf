package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netns"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/local"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/agent/pod"
	"github.com/weft-net/weft/agent/reconcile"
	"github.com/weft-net/weft/proto/intent"
	"golang.org/x/sync/errgroup"
)

// node is one node's own rooms (pod, kernel, reconcile, nat, local) in a network
// namespace, with a lease and without a server, driven through the shim.
type node struct {
	t      testing.TB
	prefix string // of namespaces
	dir    string
	socket string
	pods   *pod.Keeper
	loop   *reconcile.Loop
	stop   func()
	cni    *libcni.CNIConfig
}

var lease = []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24"), netip.MustParsePrefix("fd42:42:0:1::/64")}

func newNode(t testing.TB) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	n := &node{t: t, prefix: fmt.Sprintf("weft-t-%d-%s", os.Getpid(), strings.ToLower(strings.TrimLeft(t.Name(), "TesBnchmark"))[:6]), dir: t.TempDir()}
	n.prefix = strings.ReplaceAll(n.prefix, "/", "-")
	n.socket = filepath.Join(n.dir, "cni.sock")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(n.dir, "weft-cni"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.cni = libcni.NewCNIConfigWithCacheDir([]string{n.dir}, filepath.Join(n.dir, "cache"), nil)
	n.netns("node")
	n.uplink()
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

// uplink joins the node to a client outside of the fabric.
func (n *node) uplink() {
	n.t.Helper()
	n.netns("client")
	n.run("ip", "link", "add", "up0", "netns", n.prefix+"-client", "type", "veth", "peer", "name", "up0", "netns", n.prefix+"-node")
	for host, ns := range []string{"node", "client"} {
		n.in(ns, "ip", "address", "add", fmt.Sprintf("192.0.2.%d/24", host+1), "dev", "up0")
		n.in(ns, "ip", "address", "add", fmt.Sprintf("2001:db8::%d/64", host+1), "dev", "up0", "nodad")
		n.in(ns, "ip", "link", "set", "up0", "up")
		n.in(ns, "ip", "link", "set", "lo", "up")
	}
}

// netns makes a namespace and returns its path.
func (n *node) netns(name string) string {
	n.t.Helper()
	full := n.prefix + "-" + name
	n.run("ip", "netns", "add", full)
	n.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", full).Run() })
	return n.path(name)
}

func (n *node) path(name string) string { return "/run/netns/" + n.prefix + "-" + name }

func (n *node) run(name string, args ...string) string {
	n.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// in runs a command in a namespace.
func (n *node) in(ns, command string, args ...string) string {
	n.t.Helper()
	return n.run("ip", append([]string{"netns", "exec", n.prefix + "-" + ns, command}, args...)...)
}

// inside runs f on a thread in a namespace.
func (n *node) inside(ns string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never let go: the thread ends with the goroutine
		h, err := netns.GetFromPath(n.path(ns))
		if err == nil {
			defer h.Close()
			err = netns.Set(h)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// screened is the kernel as the loop may see it.
type screened struct {
	*kernel.Kernel
	pods *pod.Keeper
}

func (s screened) Observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error) {
	state, err := s.Kernel.Observe(ctx, kinds)
	s.pods.Screen(state)
	return state, err
}

// start runs the rooms, as a restarted agent does.
func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	log := slog.New(slog.NewTextHandler(testWriter{n.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var k *kernel.Kernel
	var spaces pod.Namespaces
	err := n.inside("node", func() (err error) {
		if k, err = kernel.Open(log, kernel.Config{}); err == nil {
			spaces, err = pod.HostNamespaces()
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	self := pod.Node{Name: "n1", Lease: lease, MTU: 1450}
	seen := &screened{Kernel: k}
	n.loop = reconcile.New(reconcile.Config{Kernel: seen, Plan: n.plan, Log: log})
	n.pods, err = pod.Open(pod.Config{
		Dir: filepath.Join(n.dir, "pods"), Boot: "boot", Node: func() (pod.Node, bool) { return self, true },
		Kernel: k, Loop: n.loop, Namespaces: spaces, Log: log,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	seen.pods = n.pods
	socket, err := local.Listen(n.socket, local.CNIMode)
	if err != nil {
		n.t.Fatal(err)
	}
	g.Go(func() error {
		return k.Watch(ctx, func(kinds datapath.Kinds) {
			n.loop.Kick(kinds)
			if kinds.Has(datapath.KindLink) {
				n.pods.Kick()
			}
		})
	})
	g.Go(func() error { return n.loop.Run(ctx) })
	g.Go(func() error { return n.pods.Run(ctx) })
	g.Go(func() error { return local.CNI{Handler: n.pods, Log: log}.Serve(ctx, socket) })
	n.stop = func() {
		cancel()
		if err := g.Wait(); err != nil {
			n.t.Error(err)
		}
		k.Close()
	}
}

// plan is a node without peers.
func (n *node) plan(context.Context) (reconcile.Want, error) {
	objects := []datapath.Object{
		datapath.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"},
		datapath.Sysctl{Path: "net/ipv6/conf/all/forwarding", Value: "1"},
		datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450},
	}
	for _, p := range lease {
		a := p.Addr()
		objects = append(objects, datapath.Addr{Dev: datapath.FabricLink, Prefix: netip.PrefixFrom(a, a.BitLen())})
	}
	rules, err := nat.Objects(nat.Node{Cluster: intent.Cluster{CIDRs: lease}, Lease: lease, HostPorts: n.pods.HostPorts()})
	return reconcile.Want{Objects: objects, Parts: [][]datapath.Object{rules, n.pods.Objects()}, Complete: true}, err
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// list is a network configuration list of one plugin, in a CNI version.
func (n *node) list(version string) *libcni.NetworkConfigList {
	n.t.Helper()
	l, err := libcni.ConfListFromBytes([]byte(fmt.Sprintf(`{"cniVersion":%q,"name":"weft","plugins":[{"type":"weft-cni","socket":%q,
		"capabilities":{"portMappings":true,"bandwidth":true,"ips":true,"mac":true,"dns":true}}]}`, version, n.socket)))
	if err != nil {
		n.t.Fatal(err)
	}
	return l
}

// runtimeConf is what a runtime says of a pod, whose namespace bears its name.
func (n *node) runtimeConf(name string, capabilities map[string]any) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: name, NetNS: n.path(name), IfName: "eth0", CapabilityArgs: capabilities,
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", name}},
	}
}

// add makes a namespace and attaches it.
func (n *node) add(name string, capabilities map[string]any) []netip.Addr {
	n.t.Helper()
	n.netns(name)
	r, err := n.cni.AddNetworkList(context.Background(), n.list("1.1.0"), n.runtimeConf(name, capabilities))
	if err != nil {
		n.t.Fatalf("ADD %s: %v", name, err)
	}
	return addrs(n.t, r)
}

func addrs(t testing.TB, r types.Result) []netip.Addr {
	t.Helper()
	result, err := types100.NewResultFromResult(r)
	if err != nil {
		t.Fatal(err)
	}
	var out []netip.Addr
	for _, ip := range result.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		out = append(out, a.Unmap())
	}
	return out
}

// shim runs the plugin as a runtime does, and returns its output.
func (n *node) shim(verb, container, config string) (string, error) {
	cmd := exec.Command(filepath.Join(n.dir, "weft-cni"))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_PATH="+n.dir, "CNI_IFNAME=eth0", "CNI_CONTAINERID="+container)
	cmd.Stdin = strings.NewReader(config)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
