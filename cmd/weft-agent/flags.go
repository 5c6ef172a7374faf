package main

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/weft-net/weft/agent"
	"github.com/weft-net/weft/agent/egress"
	"github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/cmd/internal/config"
	rules "github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/label"
)

const usage = `weft-agent keeps this node's share of the fabric.

  weft-agent --server https://HOST:7443 --token-file FILE
  weft-agent check-config        test whether this host can carry the fabric
  weft-agent cleanup [--purge]   remove from this host all that is weft's
  weft-agent version

Every flag is also a key of /etc/weft/agent.yaml and, as WEFT_NODE_NAME for
--node-name, a variable of the environment. Flags beat environment beat file.

%s`

// spellings are K3s's names for flags of ours.
var spellings = map[string]string{
	"flannel-iface": "iface",
}

// k3sOnly are K3s's flags that say what weft does anyway, with why.
var k3sOnly = map[string]string{
	"flannel-external-ip":    "remove it: the addresses of --node-external-ip are told to peers anyway",
	"disable-network-policy": "remove it here, and leave it with K3s: without policies weft filters nothing",
}

// options are flags on their way to a Config.
type options struct {
	set     *pflag.FlagSet
	cfg     agent.Config
	version bool
	debug   bool

	nodeIPs, externalIPs, labels []string
	announced                    []string
	hostPorts                    []uint
	canReach, site               string
	used                         map[string]bool // K3s spellings
}

func newOptions() *options {
	o := &options{set: pflag.NewFlagSet("weft-agent", pflag.ContinueOnError), used: map[string]bool{}}
	f := o.set
	f.SetOutput(io.Discard)
	f.SortFlags = false
	f.StringSliceVar(&o.cfg.Servers, "server", nil, "a control server, as https://`HOST:7443`; several are tried in turn")
	config.SecretVar(f, &o.cfg.Token, "token", "what the node joins with; better in a file")
	f.StringVar(&o.cfg.TokenFile, "token-file", "", "`file` with the token; it is needed until the node has joined")
	f.StringVar(&o.cfg.NodeName, "node-name", "", "`name` of the node (default: the host's, in lower case)")
	f.StringSliceVar(&o.nodeIPs, "node-ip", nil, "`address` on the network below, one a family, the preferred first")
	f.StringSliceVar(&o.externalIPs, "node-external-ip", nil, "`address`, or DNS name, by which others reach the node from outside; several are tried")
	f.StringVar(&o.site, "site", "", "`name` of the place where the node stands: nodes of one site trust the network between them (label weft/site)")
	f.StringSliceVar(&o.labels, "node-label", nil, "`key=value` told to the servers")
	f.BoolVar(&o.cfg.Ephemeral, "ephemeral", false, "join as a node that is deleted when its agent stops without pods, or 1 h after it went")
	f.StringVar(&o.cfg.Iface, "iface", "", "`device` or address of the network below")
	f.StringVar(&o.cfg.IfaceRegex, "iface-regex", "", "`expression` that its device or address matches (RE2)")
	f.StringVar(&o.canReach, "iface-can-reach", "", "`address` towards which its device leads")
	config.SecretVar(f, &o.cfg.VPNAuth, "vpn-auth", "how the node comes into a tailnet, by whose address it is then known, as in K3s: name=tailscale,joinKey=KEY,controlServerURL=URL,extraArgs=--FLAG; better in a file")
	f.StringVar(&o.cfg.VPNAuthFile, "vpn-auth-file", "", "`file` with the same, or with YAML of the same names; joinKey may be left out on a node that is logged in (tailscale status)")
	f.StringVar(&o.cfg.DataDir, "data-dir", agent.DefaultDataDir, "`folder` of the node's key, last intent and pod records")
	f.StringVar(&o.cfg.RunDir, "run-dir", agent.DefaultRunDir, "`folder` of agent.sock, cni.sock and node.env")
	f.StringVar(&o.cfg.CNIConfDir, "cni-conf-dir", agent.Auto, "`folder` of the container runtime's configuration; auto finds it, none leaves it alone")
	f.StringVar(&o.cfg.SubnetFile, "subnet-file", "", "`file` to keep for Flannel's CNI plugin, such as /run/flannel/subnet.env; that plugin then gives the addresses of the lease to pods, and weft-cni gives none")
	f.StringVar(&o.cfg.CNIBinDir, "cni-bin-dir", agent.Auto, "`folder` into which to copy weft-cni; auto finds K3s's, none copies nothing")
	f.StringVar(&o.cfg.MetricsListen, "metrics-listen", agent.DefaultMetrics, "`address` of metrics and health; empty for none")
	f.StringVar(&o.cfg.ChecksumOff, "vxlan-checksum-offload", agent.Auto, "checksum offload of VXLAN devices: `auto`, on or off; auto is off where it is known to lose packets")
	f.StringVar(&o.cfg.WireGuard, "wireguard", agent.Auto, "who makes WireGuard devices: `auto`, the kernel where it can; kernel or userspace, nobody else")
	f.StringVar(&o.cfg.EgressFile, "egress-file", "", "`file` that bounds what servers may dial through this node (default "+egress.DefaultFile+" if it is there); no server widens it")
	f.UintSliceVar(&o.hostPorts, "egress-host-port", nil, "TCP `port` of the node's own addresses that may be dialled through its tunnel, beside 10250 and 10010")
	f.StringSliceVar(&o.announced, "announce-prefix", nil, "`prefix` of pods here that another network's address management gave to this node: servers dial it through this node")
	f.BoolVar(&o.cfg.ManageRPFilter, "manage-rp-filter", false, "set reverse path filtering to loose (2) on an uplink that has it strict (1)")
	f.BoolVar(&o.cfg.IntegrateFirewall, "integrate-firewall", false, "let pods through Docker, ufw and firewalld by the openings that they keep for it")
	f.StringVar(&o.cfg.MarkMask, "mark-mask", host.DefaultMarkMask, "`bits` of packets' marks that are weft's, at least four; not kube-proxy's nor Tailscale's")
	f.StringVar(&o.cfg.ForwardingGuard, "forwarding-guard", agent.Auto, "drop what others forward where weft switched forwarding on: `auto`, or off for a host that is a router")
	f.StringVar(&o.cfg.BootIDFile, "boot-id-file", agent.DefaultBootID, "`file` whose content changes with each boot")
	for _, name := range slices.Sorted(maps.Keys(k3sOnly)) {
		f.Bool(name, false, "K3s's; "+k3sOnly[name])
		_ = f.MarkHidden(name)
	}
	f.BoolVar(&o.debug, "debug", false, "log what was decided and why")
	f.BoolVar(&o.version, "version", false, "print the release")
	config.ArgsOnly(f, "version")
	config.AlsoFrom(f, "vpn-auth", "K3S_VPN_AUTH") // as K3s's agent has them
	config.AlsoFrom(f, "vpn-auth-file", "K3S_VPN_AUTH_FILE")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if ours, ok := spellings[name]; ok {
			o.used[name] = true
			name = ours
		}
		return pflag.NormalizedName(name)
	})
	return o
}

// parse reads flags, environment and file.
func parse(args []string) (*options, error) {
	o := newOptions()
	if err := config.Load(o.set, args, config.Options{Name: "agent", File: "/etc/weft/agent.yaml"}); err != nil {
		return o, err
	}
	var err error
	if o.cfg.NodeIPs, err = addresses("--node-ip", o.nodeIPs); err != nil {
		return o, err
	}
	if o.cfg.ExternalIPs, o.cfg.ExternalNames, err = external(o.externalIPs); err != nil {
		return o, err
	}
	if o.canReach != "" {
		one, err := addresses("--iface-can-reach", []string{o.canReach})
		if err != nil {
			return o, err
		}
		o.cfg.CanReach = one[0]
	}
	if o.cfg.Announced, err = prefixes("--announce-prefix", o.announced); err != nil {
		return o, err
	}
	if o.cfg.HostPorts, err = ports("--egress-host-port", o.hostPorts); err != nil {
		return o, err
	}
	if o.cfg.NodeLabels, err = labels(o.labels); err != nil {
		return o, err
	}
	return o, o.place()
}

// place takes the site among the labels: peers and the server know it by that.
func (o *options) place() error {
	if o.site == "" {
		return nil
	}
	if err := label.ValidValue(o.site); err != nil {
		return fmt.Errorf("--site %w", err)
	}
	if was, said := o.cfg.NodeLabels[intent.SiteLabel]; said && was != o.site {
		return fmt.Errorf("--site %s and --node-label %s=%s differ; give one of them", o.site, intent.SiteLabel, was)
	}
	o.cfg.NodeLabels[intent.SiteLabel] = o.site
	return nil
}

// external reads addresses, and names that have to be resolved again and again.
func external(in []string) (addrs []netip.Addr, names []string, err error) {
	for _, s := range in {
		s = strings.TrimSpace(s)
		if _, err := netip.ParseAddr(s); err == nil {
			one, err := outside(s)
			if err != nil {
				return nil, nil, err
			}
			if slices.Contains(addrs, one) {
				return nil, nil, fmt.Errorf("--node-external-ip: %s is there twice", s)
			}
			addrs = append(addrs, one)
			continue
		}
		name := strings.ToLower(strings.TrimSuffix(s, "."))
		if !strings.Contains(name, ".") || netLike(name) || intent.ValidName(name) != nil {
			return nil, nil, fmt.Errorf("--node-external-ip %q: neither an address, such as 203.0.113.7 or 2001:db8::11, nor a DNS name, such as n7.example.org", s)
		}
		if slices.Contains(names, name) {
			return nil, nil, fmt.Errorf("--node-external-ip: %s is there twice", name)
		}
		names = append(names, name)
	}
	return addrs, names, nil
}

// outside reads an address at which others can reach the node from outside.
func outside(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("--node-external-ip %q: not an address without a zone, such as 203.0.113.7 or 2001:db8::11", s)
	case a.Is4In6():
		return netip.Addr{}, fmt.Errorf("--node-external-ip %s: IPv4 mapped into IPv6; write it as %v", s, a.Unmap())
	}
	if _, what, special := rules.Special(a); special {
		return netip.Addr{}, fmt.Errorf("--node-external-ip %s: %s; nobody reaches the node there from outside: give the address that its router or cloud has for it", s, what)
	}
	return a, nil
}

// netLike tells whether a name is a mistaken address: no top-level domain is a number
// (RFC 3696, section 2).
func netLike(name string) bool {
	last := name[strings.LastIndex(name, ".")+1:]
	return strings.Trim(last, "0123456789") == ""
}

// aliases lists the K3s spellings in use, sorted, each with what to do.
func (o *options) aliases() [][2]string {
	var out [][2]string
	for _, name := range slices.Sorted(maps.Keys(o.used)) {
		out = append(out, [2]string{name, "write --" + spellings[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(k3sOnly)) {
		if o.set.Changed(name) {
			out = append(out, [2]string{name, k3sOnly[name]})
		}
	}
	return out
}

func addresses(flag string, in []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range in {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6() {
			return nil, fmt.Errorf("%s %q: not an address of this node, such as 10.0.0.11 or 2001:db8::11", flag, s)
		}
		if slices.Contains(out, a) {
			return nil, fmt.Errorf("%s: %v is there twice", flag, a)
		}
		out = append(out, a)
	}
	return out, nil
}

func prefixes(flag string, in []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range in {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("%s %q: not a prefix, such as 10.244.1.0/24", flag, s)
		}
		out = append(out, p)
	}
	return out, nil
}

func ports(flag string, in []uint) ([]uint16, error) {
	var out []uint16
	for _, p := range in {
		if p < 1 || p > 65535 {
			return nil, fmt.Errorf("%s %d: accepted: 1 to 65535", flag, p)
		}
		out = append(out, uint16(p))
	}
	return out, nil
}

func labels(in []string) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range in {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("--node-label %q: write key=value", s)
		}
		out[k] = v
	}
	return out, nil
}
