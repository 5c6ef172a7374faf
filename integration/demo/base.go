package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

type demo struct {
	*lab.Fabric
	began time.Time
	pods  []*lab.Pod
}

// say prints a step with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Printf("\n%6.2fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// weft runs the CLI and shows the command with its output.
func (d *demo) weft(ctx context.Context, args ...string) error {
	out, err := d.Weft(ctx, args...)
	fmt.Printf("\n$ weft %s\n%s", strings.Join(args, " "), out)
	return err
}

func (d *demo) show(ctx context.Context, backend string) error {
	fmt.Println("Three nodes and a control server, each in a network namespace, on one switch.")
	start, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := d.StartServer(start, "--backend", backend); err != nil {
		return err
	}
	d.say("weft-server is ready on %s (embedded etcd, own CA)", d.NodeIPs(d.Server)[0])
	for _, n := range d.Nodes {
		if err := d.StartAgent(start, n); err != nil {
			return err
		}
		d.say("weft-agent is ready on %s (%s)", n.Name, strings.Join(d.NodeIPs(n), ", "))
	}
	if err := d.InStep(start, len(d.Nodes)); err != nil {
		return err
	}
	d.say("all nodes hold the newest revision")
	for _, args := range [][]string{{"get", "nodes", "-o", "wide"}, {"get", "leases"}, {"mesh"}} {
		if err := d.weft(ctx, args...); err != nil {
			return err
		}
	}
	for _, n := range d.Nodes {
		p, err := d.NewPod(start, n, "web", nil)
		if err != nil {
			return err
		}
		d.pods = append(d.pods, p)
		d.say("pod web on %s attached by libcni through weft-cni: %v", n.Name, p.Addrs)
	}
	if err := d.pairs(ctx); err != nil {
		return err
	}
	for _, args := range [][]string{{"get", "endpoints"}, {"status"}} {
		if err := d.weft(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// pairs measures every pair of pods beside the bare wire between their nodes.
func (d *demo) pairs(ctx context.Context) error {
	d.say("every pair of pods, next to the bare wire below it (iperf3, 1 s each)")
	fmt.Printf("\n%-10s %-6s %-24s %10s %12s %12s %7s\n", "PAIR", "FAMILY", "TO", "PING", "POD Gbit/s", "WIRE Gbit/s", "SHARE")
	for i, from := range d.pods {
		for _, to := range d.pods[i+1:] {
			for _, addr := range to.Addrs {
				if err := d.pair(ctx, from, to, addr); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (d *demo) pair(ctx context.Context, from, to *lab.Pod, addr netip.Addr) error {
	ping, err := from.Run(ctx, "ping", "-c", "3", "-i", "0.02", "-q", addr.String())
	if err != nil {
		return err
	}
	pod, err := throughput(ctx, from.Host, to.Host, addr)
	if err != nil {
		return err
	}
	under, err := d.wire(to.Node, addr.Is4())
	if err != nil {
		return err
	}
	wire, err := throughput(ctx, from.Node, to.Node, under)
	if err != nil {
		return err
	}
	family := "IPv6"
	if addr.Is4() {
		family = "IPv4"
	}
	fmt.Printf("%-10s %-6s %-24s %7s ms %12.2f %12.2f %6.0f%%\n", from.Node.Name+" -> "+to.Node.Name, family, addr, average(ping), pod/1e9, wire/1e9, 100*pod/wire)
	return nil
}

// wire is the underlay address of a node in a family.
func (d *demo) wire(n *lab.Host, is4 bool) (netip.Addr, error) {
	for _, s := range d.NodeIPs(n) {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() == is4 {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no underlay address of the family on %s", n.Name)
}

// average takes the average round trip in ms from ping's last line.
func average(out string) string {
	_, rest, ok := strings.Cut(out, "min/avg/max/mdev = ")
	if parts := strings.Split(rest, "/"); ok && len(parts) > 1 {
		return parts[1]
	}
	return "?"
}

// throughput is TCP's, in bit/s, for one second.
func throughput(ctx context.Context, from, to *lab.Host, addr netip.Addr) (float64, error) {
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, rate, err := lab.Stream(within, from, to, addr, 1, func(client func() error) error { return client() })
	return rate, err
}

func (d *demo) hints() {
	admin := filepath.Join(d.ServerDir(), "admin.yaml")
	in := "ip netns exec " + d.Server.Namespace() + " "
	weft := in + "env XDG_CACHE_HOME=" + d.Dir + " " + filepath.Join(d.Bin, "weft") + " --config " + admin
	node := d.Nodes[0]
	fmt.Printf(`
The fabric stays up until Ctrl-C. Try, in another terminal:

  %[1]s get nodes
  %[1]s status
  %[1]s get nodes -o json
  %[2]s%[3]s $(%[1]s grpcurl-flags) %[4]s:7443 weft.v1.Status/Get
  ip netns exec %[5]s ping %[6]s
  ip netns exec %[7]s %[8]s status --agent-socket %[9]s
  ip netns exec %[7]s nft flush ruleset   # and look again: it is back
  ip netns exec %[7]s ip link del weft-vx # likewise
`, weft, in, filepath.Join(d.Bin, "grpcurl"), d.NodeIPs(d.Server)[0],
		d.pods[0].Namespace(), d.pods[1].Addrs[0],
		node.Namespace(), filepath.Join(d.Bin, "weft"), filepath.Join(node.Dir(), "run", "agent.sock"))
}
