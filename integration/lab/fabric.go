package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Layout says what a fabric stands on.
type Layout struct {
	Nodes   int
	Servers int    // default 1
	Store   string // StoreEmbedded (the default) or StoreEtcd
	MTU     int    // of the underlay, bytes; default 1500
	Under   string // families of the underlay, in order of preference: "46" by default
	CIDRs   string // --cluster-cidr; dual stack by default
	Release string // that it begins with; ThisRelease by default
	Behind  int    // so many of the nodes, the last ones, stand each behind a router of its own that lets nothing in
	Out     Out    // what these routers let out; Anything by default

	// NATs is what stands before each node instead, in their order. Hosts then share
	// no link with nodes and routers: each has its own to s1, as in clouds.
	NATs    []NAT
	SameLAN bool // the networks behind routers have the same addresses
}

// Fabric is control servers s1, s2, … and nodes n1, n2, … on one switch; with
// StoreEtcd also e1, e2, …, as many as servers, for an etcd of their own. s1 is
// everybody's default route and holds Outside4 and Outside6. A node n3 that stands
// behind a router has r3 for it, or that of a node before; where that lets nothing
// out but to a proxy, p1 is the proxy's host.
type Fabric struct {
	*Lab
	Server  *Host // s1
	Servers []*Host
	Etcds   []*Host
	Nodes   []*Host
	Routers []*Router // of the nodes that stand behind one
	Proxy   *Host     // p1, where the way out is OnlyProxy
	Layout  Layout

	bin   string // folder of all releases
	alone bool   // the release in use knows of one server only

	// The latest process of each host, by its name.
	ServerProcesses map[string]*Process
	EtcdProcesses   map[string]*Process
	Agents          map[string]*Process
}

// NewFabric makes the hosts; nothing runs on them yet.
func NewFabric(ctx context.Context, bin string, layout Layout) (*Fabric, error) {
	layout.Servers = max(layout.Servers, 1)
	if layout.Store == "" {
		layout.Store = StoreEmbedded
	}
	if layout.MTU == 0 {
		layout.MTU = 1500
	}
	if layout.Under == "" {
		layout.Under = "46"
	}
	if layout.CIDRs == "" {
		layout.CIDRs = "10.42.0.0/16,fd42:42::/48"
	}
	l, err := New(ctx, bin)
	if err != nil {
		return nil, err
	}
	f := &Fabric{
		Lab: l, Layout: layout, bin: bin,
		ServerProcesses: map[string]*Process{}, EtcdProcesses: map[string]*Process{}, Agents: map[string]*Process{},
	}
	if err := errors.Join(f.Use(cmp.Or(layout.Release, ThisRelease)), f.hosts46(ctx)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return f, nil
}

// Where the hosts of a kind begin on the underlay.
const (
	firstServer = 1
	firstEtcd   = 6
	firstNode   = 11
	proxyHost   = 999
	firstRouter = 1000
)

func (f *Fabric) hosts46(ctx context.Context) error {
	var err error
	if f.Server, err = f.Host(ctx, "s1", f.Layout.MTU, f.underlay(firstServer), nil); err != nil {
		return err
	}
	for _, outside := range []string{Outside4 + "/32", Outside6 + "/128"} {
		if err := ip(ctx, "-n", f.Server.ns, "addr", "add", outside, "dev", "lo"); err != nil {
			return err
		}
	}
	if err := f.Server.addressed(ctx); err != nil {
		return err
	}
	if f.Servers, err = f.row(ctx, "s", firstServer+1, f.Layout.Servers-1, 2); err != nil {
		return err
	}
	f.Servers = append([]*Host{f.Server}, f.Servers...)
	if f.Layout.Store == StoreEtcd {
		if f.Etcds, err = f.row(ctx, "e", firstEtcd, f.Layout.Servers, 1); err != nil {
			return err
		}
	}
	return f.stand(ctx)
}

// gateways are s1's addresses, everybody's default route.
func (f *Fabric) gateways() []netip.Addr {
	var out []netip.Addr
	for _, p := range f.underlay(firstServer) {
		out = append(out, p.Addr())
	}
	return out
}

// row makes hosts of one kind, whose default route is s1, with their first
// address and the number in the first one's name.
func (f *Fabric) row(ctx context.Context, kind string, host, count, number int) ([]*Host, error) {
	gateways := f.gateways()
	var hosts []*Host
	for i := range count {
		h, err := f.Host(ctx, fmt.Sprintf("%s%d", kind, number+i), f.Layout.MTU, f.underlay(host+i), gateways)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// underlay gives a host's addresses, in the layout's order of families.
func (f *Fabric) underlay(host int) []netip.Prefix {
	var out []netip.Prefix
	for _, family := range f.Layout.Under {
		switch family {
		case '4':
			out = append(out, netip.MustParsePrefix(fmt.Sprintf("10.99.%d.%d/16", host/250, host%250+1)))
		case '6':
			out = append(out, netip.MustParsePrefix(fmt.Sprintf("fd99::%x/64", host+1)))
		}
	}
	return out
}

// NodeIPs are the addresses of a host on the underlay, as --node-ip takes them.
func (f *Fabric) NodeIPs(h *Host) []string {
	var out []string
	for _, p := range h.addrs {
		out = append(out, p.Addr().String())
	}
	return out
}

// StartAgent starts weft-agent on a node and returns when it is ready.
func (f *Fabric) StartAgent(ctx context.Context, h *Host, args ...string) error {
	p, err := f.Agent(h, args...)
	if err != nil {
		return err
	}
	return p.Ready(ctx)
}

// Agent starts weft-agent on a node and does not wait. It is told the node's
// addresses, unless args choose them by device or by a tailnet.
func (f *Fabric) Agent(h *Host, args ...string) (*Process, error) {
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--iface") || strings.HasPrefix(a, "--vpn-auth") }) {
		args = append([]string{"--node-ip", strings.Join(f.NodeIPs(h), ",")}, args...)
	}
	p, err := h.startNotify("weft-agent", append([]string{
		"weft-agent",
		"--server", strings.Join(f.urls(), ","), "--token-file", filepath.Join(f.ServerDir(), "agent-token"), "--node-name", h.Name,
		"--data-dir", filepath.Join(h.Dir(), "data"),
		"--run-dir", filepath.Join(h.Dir(), "run"), "--cni-conf-dir", filepath.Join(h.Dir(), "net.d"),
		"--boot-id-file", h.BootID(),
	}, args...)...)
	if err == nil {
		f.mu.Lock() // a storm starts many at once
		f.Agents[h.Name] = p
		f.mu.Unlock()
	}
	return p, err
}

// InStep returns when every node has applied the newest revision and the count of
// nodes is as said.
func (f *Fabric) InStep(ctx context.Context, nodes int) error {
	want := fmt.Sprintf("%d of %d nodes in step", nodes, nodes)
	return Until(ctx, want, func() (string, error) {
		out, err := f.Weft(ctx, "status") // exits 1 while there are problems
		if !strings.Contains(out, want) {
			return out, fmt.Errorf("%w: %w", ErrNotYet, err)
		}
		return out, nil
	})
}

// Until repeats a question until the answer is no error or ctx ends; then the
// last answer is in the error. It is for what is only seen from outside, where
// no event can be waited for.
func Until(ctx context.Context, what string, ask func() (string, error)) error {
	last := "none"
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		answer, err := ask()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = answer // one that was cut short tells nothing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab: waited for %q: %w; last answer:\n%s", what, err, last)
		case <-tick.C:
		}
	}
}

// StartReady starts a process and returns when it has told systemd that it is
// ready.
func (h *Host) StartReady(ctx context.Context, name string, args ...string) (*Process, error) {
	p, err := h.startNotify(name, args...)
	if err != nil {
		return nil, err
	}
	return p, p.Ready(ctx)
}

// named runs a command under the hostname that its first argument gives.
const named = `echo "$0" >/proc/sys/kernel/hostname && exec "$@"`

// startNotify starts a process with a socket where systemd's would be
// (sd_notify(3)), and with the host's name for a hostname.
func (h *Host) startNotify(name string, args ...string) (*Process, error) {
	path := filepath.Join(h.Dir(), name+".notify")
	_ = os.Remove(path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	p, err := h.Start(name, append([]string{"unshare", "--uts", "sh", "-c", named, h.Name, "env", "NOTIFY_SOCKET=" + path}, args...)...)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	p.ready = make(chan struct{})
	go func() {
		<-p.done
		_ = conn.Close()
	}()
	go func() {
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if slices.Contains(strings.Split(string(buf[:n]), "\n"), "READY=1") {
				close(p.ready)
				return
			}
		}
	}()
	return p, nil
}

// Ready returns when the process has said that it is ready.
func (p *Process) Ready(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-p.done:
		return fmt.Errorf("lab: %s ended before it was ready: %v\n%s", p.Name, p.err, p.Tail(20))
	case <-ctx.Done():
		return fmt.Errorf("lab: %s is not ready: %w\n%s", p.Name, ctx.Err(), p.Tail(20))
	}
}
