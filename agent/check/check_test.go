package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/proto/connect"
	"github.com/weft-net/weft/proto/intent"
)

// through is the proxy of server behind.
func through(server string) *proxy.Proxy {
	e, _ := proxy.FromEnvironment(func(name string) string {
		return map[string]string{"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "s1,gone,192.0.2.0/24"}[name]
	})
	return e.For(server)
}

// TestText: what a person reads, a line a check.
func TestText(t *testing.T) {
	dir := t.TempDir()
	pfx := netip.MustParsePrefix
	n := Node{
		Node: host.Node{
			Cluster:  intent.Cluster{CIDRs: []netip.Prefix{pfx("10.42.0.0/16")}, Backend: intent.HostGW},
			Underlay: []intent.Underlay{{Addr: pfx("192.0.2.1/24"), Device: "eth0", MTU: 1500}, {Addr: pfx("2001:db8::1/64"), Device: "eth1", MTU: 1270}},
		},
		Facts:   host.Facts{Disks: []host.Disk{{Path: "/d", ReadOnly: true, NoInodes: true}}, Clock: host.Clock{Unsynchronized: true}},
		Servers: []string{"s1:7443", "192.0.2.9:7443", "gone:7443", "192.0.2.10:7443", "192.0.2.11:7443", "192.0.2.12:7443", "behind:7443"},
		Greet: func(_ context.Context, s string) (Greeting, error) {
			if s == "behind:7443" {
				return Greeting{}, fmt.Errorf("uplink: %w", through(s).Explain(s, &connect.Refusal{Status: 407}))
			}
			return map[string]Greeting{"s1:7443": {Trusted: "the token's pin"}, "192.0.2.11:7443": {Trusted: "the token's pin"}, "192.0.2.12:7443": {Trusted: "the token's pin"}}[s], map[string]error{"192.0.2.10:7443": errors.New("refused")}[s]
		},
		Token: func(_ context.Context, s string) error {
			return map[string]error{"s1:7443": nil, "192.0.2.11:7443": errors.New("token is used up"), "192.0.2.12:7443": fmt.Errorf("old: %w", errors.ErrUnsupported)}[s]
		},
		Resolver: func(_ context.Context, h string) ([]string, error) {
			if h == "gone" {
				return nil, errors.New("no such host")
			}
			return []string{"192.0.2.8"}, nil
		},
		Bound: "/etc/weft/egress.yaml", Proxy: through, DataDir: dir, Log: slog.New(slog.DiscardHandler),
	}
	var b bytes.Buffer
	checks := append(append(append(n.addresses(), n.findings()...), n.folders()...), append(n.bound(), n.servers(t.Context())...)...)
	if Print(&b, checks) {
		t.Error("nothing has failed")
	}
	const want = `ok    address: 192.0.2.1/24 on eth0, mtu 1500: 1500 for pods
warn  address: 2001:db8::1/64 on eth1, mtu 1270: the 1270 for pods are too few for IPv6 (1280) -> ip link set eth1 mtu 1500
FAIL  /d: the file system is read-only: no pod can be recorded, no intent kept -> dmesg | tail; mount -o remount,rw "$(findmnt -n -o TARGET -T /d)"
warn  clock: the kernel's clock is not synchronized -> timedatectl set-ntp true
ok    folder DIR: can be written to
warn  CNI: no folder of a container runtime was found -> start the container runtime once, or name its folder with --cni-conf-dir
ok    egress file: /etc/weft/egress.yaml bounds what servers may dial through this node
ok    server s1:7443: resolves to 192.0.2.8
ok    server s1:7443: answers TLS, proved by the token's pin
ok    token: server s1:7443 would let this node join with it
warn  server 192.0.2.9:7443: answers TLS; whose certificate it is was not proved: there is no token -> give --token-file, so that it can be proved
FAIL  server gone:7443: the name cannot be resolved: no such host -> getent hosts gone
FAIL  server 192.0.2.10:7443: refused -> open TCP towards it, and check the token; on the server: systemctl status weft-server
ok    server 192.0.2.11:7443: answers TLS, proved by the token's pin
FAIL  token: server 192.0.2.11:7443: token is used up -> weft token create, on a server
ok    server 192.0.2.12:7443: answers TLS, proved by the token's pin
warn  token: server 192.0.2.12:7443 is of an earlier release and cannot say whether it counts -> weft-agent tells it when it starts
ok    server behind:7443: is reached through http://p:3128
FAIL  server behind:7443: uplink: proxy: http://p:3128 to server behind:7443: 407 Proxy Authentication Required -> put a user and password that the proxy takes into HTTPS_PROXY, as http://USER:PASSWORD@p:3128
`
	if diff := cmp.Diff(want, strings.ReplaceAll(b.String(), dir, "DIR")); diff != "" {
		t.Error(diff)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestWithoutAddress: what to do depends on who was to give the node one.
func TestWithoutAddress(t *testing.T) {
	for _, c := range []struct {
		n    Node
		want string
	}{
		{Node{Chosen: errors.New("underlay: no device has an address")}, "FAIL  address: no device has an address -> name one with --node-ip or --iface"},
		{
			Node{Chosen: errors.New("underlay: none"), Joined: errors.New("tailscale: no program tailscale is in PATH")},
			"FAIL  address: tailscale: no program tailscale is in PATH -> tailscale status; the node's address is that of its tailnet, as --vpn-auth is given",
		},
	} {
		if got := c.n.addresses(); len(got) != 1 || got[0].String() != c.want {
			t.Errorf("got %v, want %s", got, c.want)
		}
	}
}

// TestFeatures: this kernel carries both families, and nothing is left of the trial.
func TestFeatures(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	n := Node{Kernel: "x", Log: slog.New(slog.DiscardHandler)}
	for _, c := range n.features() {
		if c.Result != OK {
			t.Error(c)
		}
	}
}
