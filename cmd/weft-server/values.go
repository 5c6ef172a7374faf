package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/weft-net/weft/cmd/internal/config"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server"
)

// config reads the flags' values. Errors name where a value was written.
func (f *flags) config() (server.Config, error) {
	c := f.server
	var errs []error
	keep := func(err error) { errs = append(errs, err) }
	var err error
	c.NodeIPs, err = f.addrs("node-ip", f.nodeIPs)
	keep(err)
	if f.advertise != "" {
		as, err := f.addrs("advertise-address", []string{f.advertise})
		keep(err)
		if err == nil {
			c.Advertise = as[0]
		}
	}
	c.TLSSANs = f.sans
	if c.Backup.Keep < 1 {
		keep(fmt.Errorf("%s: %d is too few; keep at least 1; to make none: --backup-interval 0", config.Origin(f.set, "backup-keep"), c.Backup.Keep))
	}
	if err := f.level.UnmarshalText([]byte(f.levelName)); err != nil {
		keep(fmt.Errorf("%s: %q is no level; accepted: debug, info, warn, error", config.Origin(f.set, "log-level"), f.levelName))
	}
	c.Seed, err = f.seed()
	keep(err)
	c.Etcd.Password, err = f.password()
	keep(err)
	c.Join, err = f.join()
	keep(err)
	return c, errors.Join(errs...)
}

// join reads where this server is taken in. A token without a server is left to
// the server to refuse, a file that is not there yet to when it is needed.
func (f *flags) join() (server.Join, error) {
	if f.joinServer == "" && f.token == "" && f.tokenFile == "" {
		return server.Join{}, nil
	}
	var out server.Join
	var err error
	if f.joinServer != "" {
		if out.Server, err = join.ParseServer(f.joinServer); err != nil {
			return out, fmt.Errorf("%s: %w", config.Origin(f.set, "server"), err)
		}
	}
	switch {
	case f.token != "" && f.tokenFile != "":
		return out, fmt.Errorf("%s and %s are both given; give one of them", config.Origin(f.set, "token"), config.Origin(f.set, "token-file"))
	case f.token != "":
		out.Token, err = join.ParseToken(f.token)
	case f.tokenFile != "":
		out.Token, err = join.LoadToken(f.tokenFile)
		if errors.Is(err, fs.ErrNotExist) && server.HasJoined(f.server.DataDir) {
			return out, nil
		}
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", config.Origin(f.set, "token-file"), err)
	}
	return out, nil
}

func (f *flags) seed() (server.Seed, error) {
	given := f.given()
	errs := []error{f.k3s(given)}
	seed := server.Seed{Spec: f.spec, Given: given}
	for _, l := range []struct {
		flag string
		in   []string
		out  *[]netip.Prefix
	}{
		{"cluster-cidr", f.clusterCIDRs, &seed.Spec.ClusterCIDRs},
		{"service-cidr", f.serviceCIDR, &seed.Spec.ServiceCIDRs},
		{"non-masquerade-cidrs", f.nonMasquerade, &seed.Spec.NonMasqueradeCIDRs},
	} {
		ps, err := f.prefixes(l.flag, l.in)
		errs = append(errs, err)
		*l.out = ps
	}
	return seed, errors.Join(errs...)
}

// k3s takes K3s's spellings, and says what there is instead of what there is not.
func (f *flags) k3s(given map[string]string) error {
	if f.set.Changed("flannel-backend") {
		origin := config.Origin(f.set, "flannel-backend")
		if _, both := given["backend"]; both && ours(f.spec.Backend) != ours(f.flannelBackend) {
			return fmt.Errorf("%s says %q and %s says %q; give one of them", origin, f.flannelBackend, given["backend"], f.spec.Backend)
		}
		f.spec.Backend, given["backend"] = f.flannelBackend, origin
		if f.flannelBackend != native { // told below, once
			f.aliases = append(f.aliases, alias{"--flannel-backend", "--backend"})
		}
	}
	if f.flannelMasq6 {
		f.spec.Masquerade, given["masquerade"] = "always", config.Origin(f.set, "flannel-ipv6-masq")
		f.aliases = append(f.aliases, alias{"--flannel-ipv6-masq", "--masquerade always"})
	}
	for _, name := range []string{"vpn-auth", "vpn-auth-file"} {
		if f.set.Changed(name) {
			return fmt.Errorf("%s: each node is in the tailnet by itself; give it to its agent (weft-agent --%s), and --backend tailscale here", config.Origin(f.set, name), name)
		}
	}
	if f.set.Changed("flannel-iface") {
		return fmt.Errorf("%s: the device is each node's own; give it to its agent: weft-agent --iface %s", config.Origin(f.set, "flannel-iface"), f.flannelIface)
	}
	if f.set.Changed("flannel-backend") && f.flannelBackend == string(intent.Tailnet) {
		return fmt.Errorf("%s: K3s has no such word: there a node's --vpn-auth chooses it; write --backend tailscale here, and give --vpn-auth to each agent", given["backend"])
	}
	switch f.spec.Backend {
	case "ipsec":
		return fmt.Errorf("%s: backend ipsec is not offered, in K3s no more either: use wireguard, which encrypts every pair; this release has vxlan, host-gw, wireguard, auto, tailscale and none", given["backend"])
	case native:
		f.spec.Backend = ours(native)
		f.aliases = append(f.aliases, alias{given["backend"] + " " + native, "--backend wireguard"})
	}
	for _, only := range k3sOnly {
		if f.set.Changed(only.old) {
			f.aliases = append(f.aliases, alias{"--" + only.old, f.instead(only)})
		}
	}
	return nil
}

// native is K3s's name for backend wireguard.
const native = "wireguard-native"

// ours is a backend by our name.
func ours(backend string) string {
	if backend == native {
		return string(intent.WireGuard)
	}
	return backend
}

// instead says what to write in the place of a flag of K3s's. By external addresses
// only backends go that find out which of a node's addresses answer.
func (f *flags) instead(only alias) string {
	if only.old == externalIP && f.spec.Backend != string(intent.WireGuard) && f.spec.Backend != string(intent.Auto) {
		return "--backend wireguard or auto: they try the addresses of an agent's --node-external-ip; backend " + f.spec.Backend + " goes by --node-ip alone"
	}
	return only.now
}

func (f *flags) addrs(flag string, in []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range in {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil || a.IsUnspecified() || a.Is4In6() {
			return nil, fmt.Errorf("%s: %q is no address of a machine; give addresses such as 192.0.2.10,2001:db8::10", config.Origin(f.set, flag), s)
		}
		out = append(out, a)
	}
	return out, nil
}

func (f *flags) prefixes(flag string, in []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range in {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		origin := config.Origin(f.set, flag)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no range; give one such as 10.42.0.0/16 or fd42:42::/48", origin, s)
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("%s: %v has bits below its length; did you mean %v?", origin, p, p.Masked())
		}
		out = append(out, p)
	}
	return out, nil
}

// maxPassword bounds the password's file, in bytes.
const maxPassword = 4096

func (f *flags) password() (note.Secret, error) {
	if f.passwordFile == "" {
		return "", nil
	}
	origin := config.Origin(f.set, "etcd-password-file")
	file, err := os.Open(f.passwordFile)
	if err != nil {
		return "", fmt.Errorf("%s: %w", origin, err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxPassword+1))
	if err != nil || len(b) > maxPassword {
		return "", fmt.Errorf("%s: %s holds no password of at most %d bytes", origin, f.passwordFile, maxPassword)
	}
	return note.Secret(strings.TrimRight(string(b), "\r\n")), nil
}
