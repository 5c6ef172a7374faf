package lab

import (
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
	Nodes int
	MTU   int    // of the underlay, bytes; default 1500
	Under string // families of the underlay, in order of preference: "46" by default
	CIDRs string // --cluster-cidr; dual stack by default
}

// Fabric is a control server s1 and nodes n1, n2, … on one switch. s1 is also
// everybody's default route and holds Outside4 and Outside6.
type Fabric struct {
	*Lab
	Server *Host
	Nodes  []*Host
	Layout Layout

	ServerProcess *Process
	Agents        map[string]*Process
}

// NewFabric makes the hosts; nothing runs on them yet.
func NewFabric(ctx context.Context, bin string, layout Layout) (*Fabric, error) {
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
	f := &Fabric{Lab: l, Layout: layout, Agents: map[string]*Process{}}
	if err := f.hosts46(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return f, nil
}

func (f *Fabric) hosts46(ctx context.Context) error {
	var err error
	if f.Server, err = f.Host(ctx, "s1", f.Layout.MTU, f.underlay(1), nil); err != nil {
		return err
	}
	for _, outside := range []string{Outside4 + "/32", Outside6 + "/128"} {
		if err := ip(ctx, "-n", f.Server.ns, "addr", "add", outside, "dev", "lo"); err != nil {
			return err
		}
	}
	var gateways []netip.Addr
	for _, p := range f.underlay(1) {
		gateways = append(gateways, p.Addr())
	}
	for i := range f.Layout.Nodes {
		n, err := f.Host(ctx, fmt.Sprintf("n%d", i+1), f.Layout.MTU, f.underlay(11+i), gateways)
		if err != nil {
			return err
		}
		f.Nodes = append(f.Nodes, n)
	}
	return nil
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
	host := 1
	if i := slices.Index(f.Nodes, h); i >= 0 {
		host = 11 + i
	}
	var out []string
	for _, p := range f.underlay(host) {
		out = append(out, p.Addr().String())
	}
	return out
}

func (f *Fabric) url() string {
	return "https://" + net.JoinHostPort(f.NodeIPs(f.Server)[0], "7443")
}

// ServerDir is the server's --data-dir.
func (f *Fabric) ServerDir() string { return filepath.Join(f.Server.Dir(), "data") }

// StartServer starts weft-server on s1 and returns when it is ready.
func (f *Fabric) StartServer(ctx context.Context, args ...string) error {
	var err error
	f.ServerProcess, err = f.Server.StartReady(ctx, "weft-server", append([]string{
		"weft-server",
		"--data-dir", f.ServerDir(), "--listen", "[::]:7443", "--node-ip", strings.Join(f.NodeIPs(f.Server), ","),
		"--cluster-cidr", f.Layout.CIDRs,
	}, args...)...)
	return err
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
// addresses, unless args choose them by device.
func (f *Fabric) Agent(h *Host, args ...string) (*Process, error) {
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--iface") }) {
		args = append([]string{"--node-ip", strings.Join(f.NodeIPs(h), ",")}, args...)
	}
	p, err := h.startNotify("weft-agent", append([]string{
		"weft-agent",
		"--server", f.url(), "--token-file", filepath.Join(f.ServerDir(), "agent-token"), "--node-name", h.Name,
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

// Weft runs the operator's CLI on s1.
func (f *Fabric) Weft(ctx context.Context, args ...string) (string, error) {
	return f.Server.Run(ctx, append([]string{"weft", "--config", filepath.Join(f.ServerDir(), "admin.yaml")}, args...)...)
}

// InStep returns when every node has applied the newest revision and the count of
// nodes is as said.
func (f *Fabric) InStep(ctx context.Context, nodes int) error {
	want := fmt.Sprintf("%d of %d nodes in step", nodes, nodes)
	return Until(ctx, want, func() (string, error) {
		out, _ := f.Weft(ctx, "status") // exits 1 while there are problems
		if !strings.Contains(out, want) {
			return out, errors.New("not yet")
		}
		return out, nil
	})
}

// Until repeats a question until the answer is no error or ctx ends; then the
// last answer is in the error. It is for what is only seen from outside, where
// no event can be waited for.
func Until(ctx context.Context, what string, ask func() (string, error)) error {
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		answer, err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab: waited for %q: %w; last answer:\n%s", what, err, answer)
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

// startNotify starts a process with a socket where systemd's would be
// (sd_notify(3)).
func (h *Host) startNotify(name string, args ...string) (*Process, error) {
	path := filepath.Join(h.Dir(), name+".notify")
	_ = os.Remove(path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	p, err := h.Start(name, append([]string{"env", "NOTIFY_SOCKET=" + path}, args...)...)
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
