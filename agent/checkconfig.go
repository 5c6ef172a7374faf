package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/check"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/egress"
	hostroom "github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/agent/host/look"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/local"
	"github.com/weft-net/weft/agent/tailscale"
	"github.com/weft-net/weft/agent/underlay"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
)

// beforeJoin is a cluster as weft-server makes it by default: what is not known
// before the node has joined.
var beforeJoin = intent.Cluster{
	CIDRs:   []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")},
	Backend: intent.VXLAN, VNI: 4096, VXLANPort: 8472,
}

// CheckConfig tests whether this host can carry the fabric with a configuration,
// writes a line a check, and tells whether none failed. An error is a
// configuration that no agent would start with.
func CheckConfig(ctx context.Context, cfg Config, out io.Writer) (good bool, err error) {
	cfg, err = cfg.normalize()
	if err != nil {
		return false, err
	}
	k, err := kernel.Open(cfg.Log, kernel.Config{})
	if err != nil {
		return false, err
	}
	defer k.Close()
	h, err := k.Host(ctx)
	if err != nil {
		return false, err
	}
	ips, joined := cfg.tailnet(ctx, h)
	us, chosen := underlay.Choose(h, underlay.Config{
		NodeIPs: ips, Iface: cfg.Iface, IfaceRegex: cfg.IfaceRegex, CanReach: cfg.CanReach, ReachDevice: towards(h, cfg.CanReach),
	})
	node := hostroom.Node{
		Cluster: beforeJoin, Lease: []netip.Prefix{netip.PrefixFrom(beforeJoin.CIDRs[0].Addr(), 24)}, Underlay: us, Mesh: mayNeed(),
		MarkMask: cfg.markMask(), ManageRPFilter: cfg.ManageRPFilter, IntegrateFirewall: cfg.IntegrateFirewall,
	}
	n := cfg.check(node)
	n.Chosen, n.Joined = chosen, joined
	if lock, err := alone(slog.New(slog.DiscardHandler)); err == nil {
		lock.Close()
	} else {
		n.Running = true
	}
	if n.Facts, err = cfg.facts(ctx, k, node, h.Links); err != nil {
		return false, err
	}
	n.Greet = func(ctx context.Context, server string) (check.Greeting, error) {
		var token *join.Token
		if read := cfg.token(); read != nil {
			t, err := read()
			if err != nil {
				return check.Greeting{}, err
			}
			token = &t
		}
		trusted, err := cfg.way().Greet(ctx, server, token)
		return check.Greeting{Trusted: trusted}, err
	}
	n.Token = cfg.tryToken()
	return check.Print(out, check.Run(ctx, n)), nil
}

// tailnet are the addresses that the node is to be known by: with --vpn-auth those of
// its tailnet, as it is now.
func (c Config) tailnet(ctx context.Context, host datapath.Host) ([]netip.Addr, error) {
	if c.vpn == nil {
		return c.NodeIPs, nil
	}
	addrs, err := tailscale.Look(ctx, tailscale.Program{})
	if err != nil {
		return nil, err
	}
	ips, there := tailnetIPs(host, addrs)
	if !there {
		return nil, errors.New("tailscale: this node has no address of a tailnet yet; the agent logs it in, if it has a joinKey")
	}
	return ips, nil
}

// tryToken asks a server whether the node could join with its token, if it has one
// and needs it.
func (c Config) tryToken() func(ctx context.Context, server string) error {
	read := c.token()
	if read == nil || uplink.Joined(c.DataDir) {
		return nil
	}
	return func(ctx context.Context, server string) error {
		token, err := read()
		if err != nil {
			return err
		}
		return c.way().TryToken(ctx, server, token, c.NodeName, c.NodeLabels)
	}
}

// way is how this node reaches servers.
func (c Config) way() uplink.Way { return uplink.Way{Proxy: c.proxies.For} }

// check is what a configuration says of the node to be tested.
func (c Config) check(node hostroom.Node) check.Node {
	file := c.egressFile()
	file.Log = nil // what is wrong is said here
	bound := egress.OpenFile(file)
	out := check.Node{
		Node: node, Servers: c.Servers, Metrics: c.MetricsListen, DataDir: c.DataDir, CNIDir: findConfDir(c.CNIConfDir),
		Kernel: kernelRelease(), Resolver: net.DefaultResolver.LookupHost, Proxy: c.proxies.For, Log: c.Log,
		Unbound: bound.Problems(),
	}
	if bound.There() {
		out.Bound = file.Path
	}
	return out
}

// facts are seen once, with eyes of their own.
func (c Config) facts(ctx context.Context, k look.Kernel, node hostroom.Node, links []datapath.HostLink) (hostroom.Facts, error) {
	var disks []string
	for _, d := range []string{c.DataDir, c.RunDir} {
		disks = append(disks, nearest(d))
	}
	eyes := look.Eyes{
		Kernel: k, Disks: slices.Compact(disks),
		CNIDir: func() string { return findConfDir(c.CNIConfDir) },
		Links:  func() []datapath.HostLink { return links },
	}
	defer eyes.Close()
	return eyes.Facts(ctx, hostroom.Watched(node), 0, time.Now())
}

// nearest is the folder or the one above it that is there.
func nearest(path string) string {
	for path != filepath.Dir(path) {
		if m, err := filepath.Glob(path); err == nil && len(m) > 0 {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

// checks are those of the running agent, with what it knows.
func (a *agent) checks(ctx context.Context) ([]local.Check, error) {
	node := a.hostNode()
	if len(node.Lease) == 0 {
		node.Cluster, node.Lease = beforeJoin, []netip.Prefix{netip.PrefixFrom(beforeJoin.CIDRs[0].Addr(), 24)}
	}
	n := a.cfg.check(node)
	n.Running = true
	var err error
	if n.Facts, err = a.cfg.facts(ctx, a.kernel, node, a.host.allLinks()); err != nil {
		return nil, err
	}
	a.clock(&n.Facts.Clock)
	n.Greet = func(ctx context.Context, server string) (check.Greeting, error) {
		trusted, err := a.uplink.Greet(ctx, server)
		return check.Greeting{Trusted: trusted}, err
	}
	var out []local.Check
	for _, c := range check.Run(ctx, n) {
		out = append(out, local.Check(c))
	}
	return out, nil
}
