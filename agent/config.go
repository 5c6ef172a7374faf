package agent

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	hostroom "github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/agent/tailscale"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/logtail"
	"github.com/weft-net/weft/proto/note"
)

// Defaults of folders and files.
const (
	DefaultDataDir = "/var/lib/weft/agent"
	DefaultRunDir  = "/run/weft"
	DefaultBootID  = "/proc/sys/kernel/random/boot_id"
	DefaultMetrics = "localhost:7447"

	// Auto lets the agent find a folder or decide a setting; None switches it off.
	Auto = "auto"
	None = "none"
	on   = "on"
	off  = "off"
)

// Config is what an operator says about one node.
type Config struct {
	Servers   []string // https://HOST:PORT
	Token     note.Secret
	TokenFile string

	NodeName    string
	NodeIPs     []netip.Addr
	ExternalIPs []netip.Addr
	// ExternalNames are DNS names that stand for further ones, resolved again and again.
	ExternalNames []string
	NodeLabels    map[string]string
	Ephemeral     bool // the node is deleted when it goes
	Iface         string
	IfaceRegex    string
	CanReach      netip.Addr
	VPNAuth       note.Secret // K3s's --vpn-auth: the node is a member of a tailnet, and known by its address there
	VPNAuthFile   string      // the same in a file, or in a structured form

	DataDir       string
	RunDir        string
	BootIDFile    string
	CNIConfDir    string // Auto, None or a folder
	CNIBinDir     string // Auto, None or a folder that weft-cni is copied to
	SubnetFile    string // for Flannel's CNI plugin, which then gives the lease's addresses
	MetricsListen string // empty: no metrics
	ChecksumOff   string // Auto, on or off: transmit checksum offload of VXLAN devices
	WireGuard     string // who makes WireGuard devices: Auto, kernel.InKernel or kernel.InUserspace

	EgressFile string         // bounds what servers may dial through this node; empty: DefaultFile of room egress, if it is there
	HostPorts  []uint16       // of the node's own addresses that may be dialled, beside those of every node
	Announced  []netip.Prefix // that the node answers for under another network's address management

	ManageRPFilter    bool   // loose reverse path filtering on an uplink that has it strict
	IntegrateFirewall bool   // rules in the chains that Docker, ufw and firewalld keep for their operator
	MarkMask          string // bits of a packet's mark that are weft's, as 0xf00
	ForwardingGuard   string // Auto or off: drop what others forward where weft switched forwarding on

	Version string
	Log     *slog.Logger
	Tail    *logtail.Tail       // that Log logs to; nil: its level and lines cannot be asked
	Getenv  func(string) string // where HTTPS_PROXY and NO_PROXY stand; nil: the process's environment

	proxies *proxy.Environment // normalize reads these
	vpn     *tailscale.Auth    // nil: no --vpn-auth
}

// normalize fills defaults and refuses what cannot work, all of it at once being
// less useful here than the first thing with its remedy.
func (c Config) normalize() (Config, error) {
	c.DataDir, c.RunDir = cmp.Or(c.DataDir, DefaultDataDir), cmp.Or(c.RunDir, DefaultRunDir)
	c.BootIDFile, c.MarkMask = cmp.Or(c.BootIDFile, DefaultBootID), cmp.Or(c.MarkMask, hostroom.DefaultMarkMask)
	c.CNIConfDir, c.ChecksumOff, c.ForwardingGuard = cmp.Or(c.CNIConfDir, Auto), cmp.Or(c.ChecksumOff, Auto), cmp.Or(c.ForwardingGuard, Auto)
	c.WireGuard = cmp.Or(c.WireGuard, Auto)
	var err error
	if c.RunDir, err = filepath.Abs(c.RunDir); err != nil { // the conflist names the socket by it
		return c, fmt.Errorf("agent: --run-dir: %w", err)
	}
	if c.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("agent: this host has no name: %w; give one with --node-name", err)
		}
		c.NodeName = strings.ToLower(host)
	}
	c.Servers = slices.Clone(c.Servers)
	for i, s := range c.Servers {
		if c.Servers[i], err = uplink.ParseServer(s); err != nil {
			return c, err
		}
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.proxies, err = proxy.FromEnvironment(c.Getenv); err != nil {
		return c, err
	}
	if err := c.readVPN(); err != nil {
		return c, err
	}
	for _, refuse := range []func(Config) error{Config.refuseIdentity, Config.refuseUnderlay, Config.refuseHost, Config.refuseEgress} {
		if err := refuse(c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// refuseIdentity refuses what says who the node is, and to whom.
func (c Config) refuseIdentity() error {
	if err := intent.ValidName(c.NodeName); err != nil {
		return fmt.Errorf("agent: node name %w; give one with --node-name", err)
	}
	switch {
	case len(c.Servers) == 0:
		return errors.New("agent: no server is given; use --server https://HOST:7443")
	case c.Token != "" && c.TokenFile != "":
		return errors.New("agent: --token and --token-file are both given; keep the file")
	case c.Token != "":
		_, err := join.ParseToken(c.Token.Reveal())
		return err
	}
	return nil
}

// refuseUnderlay refuses what says which addresses are the node's.
func (c Config) refuseUnderlay() error {
	if err := onePerFamily(c.NodeIPs); err != nil {
		return err
	}
	if _, err := regexp.Compile(c.IfaceRegex); err != nil {
		return fmt.Errorf("agent: --iface-regex: %w", err)
	}
	return nil
}

// readVPN reads --vpn-auth or its file. A node that is known by its address in a
// tailnet has no other.
func (c *Config) readVPN() error {
	var auth tailscale.Auth
	var err error
	switch {
	case c.VPNAuth == "" && c.VPNAuthFile == "":
		return nil
	case c.VPNAuth != "" && c.VPNAuthFile != "":
		return errors.New("agent: --vpn-auth and --vpn-auth-file are both given; keep the file")
	case len(c.NodeIPs) > 0 || c.Iface != "" || c.IfaceRegex != "" || c.CanReach.IsValid():
		return errors.New("agent: with --vpn-auth the node's address is that of its tailnet; leave --node-ip, --iface, --iface-regex and --iface-can-reach out")
	case c.VPNAuth != "":
		if auth, err = tailscale.ParseAuth(c.VPNAuth.Reveal()); err != nil {
			return fmt.Errorf("agent: --vpn-auth: %w", err)
		}
	default:
		if auth, err = tailscale.ReadFile(c.VPNAuthFile); err != nil {
			return fmt.Errorf("agent: --vpn-auth-file %s: %w", c.VPNAuthFile, err)
		}
	}
	c.vpn = &auth
	return nil
}

// refuseHost refuses what says how to deal with the host.
func (c Config) refuseHost() error {
	if _, err := hostroom.ParseMarkMask(c.MarkMask); err != nil {
		return fmt.Errorf("agent: --mark-mask: %w", err)
	}
	if c.ForwardingGuard != Auto && c.ForwardingGuard != off {
		return fmt.Errorf("agent: --forwarding-guard %q: auto or off", c.ForwardingGuard)
	}
	if !slices.Contains([]string{Auto, on, off}, c.ChecksumOff) {
		return fmt.Errorf("agent: --vxlan-checksum-offload %q: auto, on or off", c.ChecksumOff)
	}
	if !slices.Contains([]string{Auto, kernel.InKernel, kernel.InUserspace}, c.WireGuard) {
		return fmt.Errorf("agent: --wireguard %q: auto, kernel or userspace", c.WireGuard)
	}
	if c.MetricsListen == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(c.MetricsListen)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		return fmt.Errorf("agent: --metrics-listen %q is no address with a port, such as %s", c.MetricsListen, DefaultMetrics)
	}
	return nil
}

// markMask is --mark-mask, which normalize has read before.
func (c Config) markMask() uint32 {
	mask, _ := hostroom.ParseMarkMask(c.MarkMask)
	return mask
}

// onePerFamily refuses what peers could not choose from.
func onePerFamily(ips []netip.Addr) error {
	for i, a := range ips {
		for _, b := range ips[:i] {
			if a.Unmap().Is4() == b.Unmap().Is4() {
				return fmt.Errorf("agent: --node-ip names %v and %v, which are of one family: give one address a family", b, a)
			}
		}
	}
	return nil
}

// wireguard is who makes devices, as room kernel takes it.
func (c Config) wireguard() string {
	if c.WireGuard == Auto {
		return ""
	}
	return c.WireGuard
}

// token returns what the node joins with, read anew at each try, or nil.
func (c Config) token() func() (join.Token, error) {
	switch {
	case c.TokenFile != "":
		return func() (join.Token, error) { return join.LoadToken(c.TokenFile) }
	case c.Token != "":
		return func() (join.Token, error) { return join.ParseToken(c.Token.Reveal()) }
	}
	return nil
}

// boot is the kernel's boot id; empty if it cannot be known.
func (c Config) boot() (string, error) {
	b, err := os.ReadFile(c.BootIDFile)
	if err != nil {
		return "", fmt.Errorf("agent: boot id: %w; name a file that changes with each boot with --boot-id-file", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// external are --node-external-ip, as they are told to who looks for candidates.
func (c Config) external() []string {
	var out []string
	for _, a := range c.ExternalIPs {
		out = append(out, a.String())
	}
	return append(out, c.ExternalNames...)
}

// machine is the content of /etc/machine-id (machine-id(5)); empty if there is none.
func machine() string {
	b, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:min(len(b), 64)]))
}
