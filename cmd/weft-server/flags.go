package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/weft-net/weft/cmd/internal/config"
	"github.com/weft-net/weft/server"
	"github.com/weft-net/weft/server/kind"
)

// flags are the command line as it was given.
type flags struct {
	set    *pflag.FlagSet
	groups []group

	server                    server.Config
	nodeIPs, sans             []string
	advertise                 string
	clusterCIDRs, serviceCIDR []string
	nonMasquerade             []string
	spec                      kind.ClusterConfigSpec
	flannelBackend            string
	flannelMasq6              bool
	flannelIface              string
	passwordFile              string
	joinServer                string
	token, tokenFile          string
	levelName                 string
	level                     slog.Level
	version, wantHelp         bool

	aliases []alias
}

// externalIP is K3s's flag for what goes between nodes to go by their external addresses.
const externalIP = "flannel-external-ip"

// alias is a flag of K3s that was given, with ours.
type alias struct{ old, now string }

// k3sOnly are K3s's flags that say what weft does anyway, with why.
var k3sOnly = [...]alias{
	{externalIP, "nothing: with backends wireguard and auto, the addresses of an agent's --node-external-ip are tried anyway"},
	{"disable-network-policy", "nothing here, and leave it with K3s: without policies weft filters nothing"},
}

// group is flags under one heading of the help.
type group struct {
	title string
	set   *pflag.FlagSet
}

func newFlags() *flags {
	f := &flags{set: pflag.NewFlagSet("weft-server", pflag.ContinueOnError)}
	f.set.Usage = func() {}
	f.set.SortFlags = false
	f.serverFlags(f.group("This server"))
	f.memberFlags(f.group("Several servers"))
	f.clusterFlags(f.group("The cluster (these count at its first start only; later: weft apply)"))
	f.etcdFlags(f.group("An etcd elsewhere (default: embedded, in <data-dir>/etcd)"))
	f.otherFlags(f.group("Observing, and more"))
	for _, g := range f.groups {
		f.set.AddFlagSet(g.set)
	}
	config.ArgsOnly(f.set, "version")
	return f
}

func (f *flags) group(title string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(title, pflag.ContinueOnError)
	fs.SortFlags = false
	f.groups = append(f.groups, group{title, fs})
	return fs
}

func (f *flags) serverFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.server.DataDir, "data-dir", "/var/lib/weft/server", "`folder` of everything that the server keeps; admin.yaml and agent-token are written there")
	fs.StringVar(&f.server.Listen, "listen", "0.0.0.0:7443", "`address` of the one TLS port, for agents and operators")
	fs.StringSliceVar(&f.nodeIPs, "node-ip", nil, "`addresses` of this machine, one a family (default: those of its interfaces)")
	fs.StringVar(&f.advertise, "advertise-address", "", "`address` that agents and operators are told (default: the first --node-ip)")
	fs.StringSliceVar(&f.sans, "tls-san", nil, "further `names` or addresses in the server's certificate")
	fs.StringVar(&f.server.EgressSocket, "egress-socket", "", "`path` of the socket on which a kube-apiserver dials through nodes by HTTP CONNECT (default: <data-dir>/egress.sock); none: there is none")
	fs.StringVar(&f.server.KonnectivitySocket, "konnectivity-socket", "", "`path` of a socket that speaks Konnectivity's gRPC (default: none); see weft-server egress-config")
	fs.IntVar(&f.server.RelayRate, "relay-rate", 2000, "`Mbit/s` that one node may send to one other over this server, where the two have no better way; 0: no bound")
	fs.StringVar(&f.server.Fabric, "fabric-name", "weft", "`name` of the fabric, in weft status")
}

func (f *flags) memberFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.server.Name, "name", "", "`name` of this server among the others (default: the host's); it stays with the data folder")
	fs.BoolVar(&f.server.ClusterInit, "cluster-init", false, "let the embedded etcd be the first of several: others join it with --server")
	fs.StringVar(&f.joinServer, "server", "", "`URL` of a server of the fabric to join, https://FIRST:7443; counts until this server has joined")
	fs.StringVar(&f.tokenFile, "token-file", "", "`file` with the server token: a copy of <data-dir>/server-token of that server")
	fs.StringVar(&f.token, "token", "", "the server `token` itself; others can see it in the process list: prefer --token-file")
	fs.StringVar(&f.server.PeerListen, "peer-listen", "", "`address` of the embedded etcd for other servers (default: port 7445 beside --listen); closed without --cluster-init or --server")
	fs.BoolVar(&f.server.ClusterReset, "cluster-reset", false, "make this server's etcd the only member again, from its own data, and end; all other servers must be down")
	fs.StringVar(&f.server.RestorePath, "cluster-reset-restore-path", "", "with --cluster-reset: `file` of a backup to make a new store of, and end; the old one is moved aside")
	fs.BoolVar(&f.server.Adopt, "adopt", false, "rebuild a store that was lost altogether from what agents carry; needs <data-dir>/ca.sealed and server.key")
}

func (f *flags) clusterFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.clusterCIDRs, "cluster-cidr", []string{"10.42.0.0/16"}, "`ranges` of pods' addresses, one a family; the first family is preferred everywhere")
	fs.StringSliceVar(&f.serviceCIDR, "service-cidr", nil, "`ranges` of services, never masqueraded and never leased")
	fs.IntVar(&f.spec.NodeCIDRMaskSize4, "node-cidr-mask-size-ipv4", kind.DefaultMaskSize4, "`length` of each node's IPv4 prefix")
	fs.IntVar(&f.spec.NodeCIDRMaskSize6, "node-cidr-mask-size-ipv6", kind.DefaultMaskSize6, "`length` of each node's IPv6 prefix")
	fs.StringVar(&f.spec.Backend, "backend", kind.DefaultBackend, "`transport` between nodes: vxlan, host-gw, wireguard (every pair encrypted), auto (each pair the best way that --encryption permits), tailscale (by the tailnet that all nodes are in: weft-agent --vpn-auth) or none")
	fs.StringVar(&f.spec.Encryption, "encryption", kind.DefaultEncryption, "with backend auto, `whom` to encrypt for: never, untrusted (pairs not of one weft-agent --site) or always")
	fs.StringVar(&f.spec.Topology, "topology", kind.DefaultTopology, "`form` of wireguard and auto: full, or site-gateways, where sites meet over nodes with the label weft/relay=true")
	fs.Uint16Var(&f.spec.WireGuardPort, "wireguard-port", kind.DefaultWireGuardPort, "WireGuard's UDP `port`; the next one is for the second device, while keys change")
	fs.IntVar(&f.spec.KeyDays, "key-days", 0, "`days` after which a node changes its WireGuard key (default: never by itself)")
	fs.BoolVar(&f.spec.PostQuantum, "post-quantum", false, "have pairs agree on pre-shared keys (ML-KEM-768) for their WireGuard tunnels; backend wireguard or auto")
	fs.BoolVar(&f.spec.DirectRouting, "direct-routing", false, "with vxlan: route between nodes on one L2 without it")
	fs.Uint32Var(&f.spec.VNI, "vni", kind.DefaultVNI, "VXLAN network `identifier`")
	fs.Uint16Var(&f.spec.VXLANPort, "vxlan-port", kind.DefaultVXLANPort, "VXLAN's UDP `port`")
	fs.IntVar(&f.spec.MTU, "mtu", 0, "`bytes` that pods' packets may have (default: what the uplink leaves)")
	fs.StringVar(&f.spec.Masquerade, "masquerade", kind.DefaultMasquerade, "`mode` for pods' traffic that leaves the cluster: auto (IPv4, and IPv6 of ULA ranges), always or never")
	fs.StringSliceVar(&f.nonMasquerade, "non-masquerade-cidrs", nil, "further destination `ranges` that pods reach with their own address")
	fs.StringVar(&f.spec.EgressSelectorMode, "egress-selector-mode", kind.DefaultEgressMode, "`mode`: what is reached through agents' tunnels: disabled (nothing), agent (nodes' addresses), pod (and pods) or cluster (and endpoints and services)")
	fs.StringVar(&f.spec.EgressFallback, "egress-fallback", kind.DefaultEgressFallback, "`way` of a dial whose node has no tunnel: closed (refused) or direct (dialled from here)")
	fs.StringVar(&f.flannelBackend, "flannel-backend", "", "K3s's `name` for --backend")
	fs.BoolVar(&f.flannelMasq6, "flannel-ipv6-masq", false, "K3s's name for --masquerade always")
	fs.StringVar(&f.flannelIface, "flannel-iface", "", "K3s's `device`; it is each agent's: weft-agent --iface")
	for _, only := range k3sOnly {
		fs.Bool(only.old, false, "K3s's; "+only.now)
	}
	for _, name := range []string{"vpn-auth", "vpn-auth-file"} {
		fs.String(name, "", "K3s's; it is each agent's: weft-agent --"+name)
		_ = fs.MarkHidden(name)
	}
	for _, name := range []string{"flannel-iface", k3sOnly[0].old, k3sOnly[1].old} {
		_ = fs.MarkHidden(name)
	}
}

func (f *flags) etcdFlags(fs *pflag.FlagSet) {
	e := &f.server.Etcd
	fs.StringSliceVar(&e.Endpoints, "etcd-endpoints", nil, "`URLs` of its members, such as https://10.0.0.5:2379")
	fs.StringVar(&e.CAFile, "etcd-cafile", "", "`file` of the CA that signed its certificates")
	fs.StringVar(&e.CertFile, "etcd-certfile", "", "`file` of our certificate for it")
	fs.StringVar(&e.KeyFile, "etcd-keyfile", "", "`file` of our key for it")
	fs.StringVar(&e.User, "etcd-user", "", "our `name` for etcd's own authentication")
	fs.StringVar(&f.passwordFile, "etcd-password-file", "", "`file` with the password of --etcd-user")
}

func (f *flags) otherFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.server.Metrics, "metrics-listen", "localhost:7446", "`address` of /metrics, /livez and /readyz over HTTP; empty: none")
	fs.StringVar(&f.server.Debug, "debug-listen", "", "`address` of pprof over HTTP (default: none)")
	fs.StringVar(&f.levelName, "log-level", "info", "`level`: debug, info, warn or error")
	b := &f.server.Backup
	fs.DurationVar(&b.Interval, "backup-interval", 12*time.Hour, "`time` between backups on schedule, made by one server; 0: none")
	fs.IntVar(&b.Keep, "backup-keep", 5, "`number` of backups on schedule that are kept")
	fs.StringVar(&b.Dir, "backup-dir", "", "`folder` of backups (default: <data-dir>/backups)")
	config.AddFlag(fs, config.Options{Name: "server", File: "/etc/weft/server.yaml"})
	fs.BoolVar(&f.version, "version", false, "print the release and end")
	fs.BoolVarP(&f.wantHelp, "help", "h", false, "print this and end")
}

const about = `weft-server is the control server of a weft fabric: it leases subnets to nodes,
keeps what should be in etcd, and pushes it to the agents.

  weft-server --node-ip 192.0.2.10 --cluster-cidr 10.42.0.0/16,fd42:42::/48

Every flag is also a variable (--cluster-cidr: WEFT_CLUSTER_CIDR) and a key of
the configuration file (cluster-cidr: …). Flags beat variables, variables beat
the file.
`

func (f *flags) help(w io.Writer) {
	fmt.Fprint(w, about)
	for _, g := range f.groups {
		fmt.Fprintf(w, "\n%s:\n%s", g.title, g.set.FlagUsagesWrapped(100))
	}
}

// given maps the cluster's flags that were set to where.
func (f *flags) given() map[string]string {
	out := map[string]string{}
	for _, g := range f.groups[2:3] {
		g.set.VisitAll(func(p *pflag.Flag) {
			if f.set.Changed(p.Name) && !strings.HasPrefix(p.Name, "flannel-") && p.Name != k3sOnly[1].old {
				out[p.Name] = config.Origin(f.set, p.Name)
			}
		})
	}
	return out
}
