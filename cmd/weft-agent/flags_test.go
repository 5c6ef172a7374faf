package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFlagsOfTheIssue(t *testing.T) {
	t.Setenv("WEFT_AGENT_CONFIG", "")
	o, err := parse(strings.Fields("--server https://10.0.0.1:7443,https://10.0.0.2 --server https://s3 --token-file D/agent-token --node-name n1 --node-ip 10.0.0.11,fd00::11 --data-dir A --run-dir R --node-label a=b,c=d --flannel-iface eth1"))
	if err != nil {
		t.Fatal(err)
	}
	c := o.cfg
	if len(c.Servers) != 3 || c.TokenFile != "D/agent-token" || c.NodeName != "n1" || len(c.NodeIPs) != 2 || c.NodeIPs[1].String() != "fd00::11" ||
		c.DataDir != "A" || c.RunDir != "R" || c.NodeLabels["c"] != "d" || c.Iface != "eth1" {
		t.Errorf("%+v", c)
	}
	if got := o.aliases(); len(got) != 1 || got[0][0] != "flannel-iface" {
		t.Errorf("aliases %v", got)
	}
}

// TestPlace: where a node stands, and by what it is reached from outside.
func TestPlace(t *testing.T) {
	t.Setenv("WEFT_AGENT_CONFIG", "")
	o, err := parse(strings.Fields("--site fra --node-label a=b --node-external-ip 203.0.113.7,n7.example.org --node-external-ip 2001:db8::7"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(o.cfg.NodeLabels, o.cfg.ExternalIPs, o.cfg.ExternalNames); got != "map[a:b weft/site:fra] [203.0.113.7 2001:db8::7] [n7.example.org]" {
		t.Error(got)
	}
}

// TestSpellings: K3s's names count on the command line and in files, and are told.
func TestSpellings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte("server: https://10.0.0.1\nflannel-iface: eth1\ndisable-network-policy: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"--config", file, "--flannel-external-ip"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range o.aliases() {
		got = append(got, a[0]+": "+a[1])
	}
	const want = "flannel-iface: write --iface|disable-network-policy: remove it here|flannel-external-ip: remove it: the addresses"
	for i, w := range strings.Split(want, "|") {
		if len(got) != 3 || !strings.HasPrefix(got[i], w) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	if o.cfg.Iface != "eth1" {
		t.Errorf("iface %q", o.cfg.Iface)
	}
	twice := "iface: eth0\nflannel-iface: eth1\n"
	if err := os.WriteFile(file, []byte(twice), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parse([]string{"--config", file}); err == nil || !strings.Contains(err.Error(), "is already set at") {
		t.Errorf("one flag by two names: %v", err)
	}
}

// TestVPNAuthOfK3s: K3s's variables set the flags that are K3s's too.
func TestVPNAuthOfK3s(t *testing.T) {
	t.Setenv("K3S_VPN_AUTH", "name=tailscale,joinKey=k")
	o, err := parse([]string{"--server", "https://s"})
	if err != nil || o.cfg.VPNAuth.Reveal() != "name=tailscale,joinKey=k" {
		t.Errorf("%q, %v", o.cfg.VPNAuth.Reveal(), err)
	}
	t.Setenv("K3S_VPN_AUTH_FILE", "/x")
	t.Setenv("WEFT_VPN_AUTH_FILE", "/y")
	if o, err = parse([]string{"--server", "https://s"}); err != nil || o.cfg.VPNAuthFile != "/y" {
		t.Errorf("%q, %v", o.cfg.VPNAuthFile, err)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--node-ip 10.0.0", "--node-ip"},
		{"--node-ip 127.0.0.1", "--node-ip"},
		{"--node-ip 10.0.0.1,10.0.0.1", "twice"},
		{"--node-ip fe80::1%eth0", "--node-ip"},
		{"--node-label x", "key=value"},
		{"--site a_b/c", "--site \"a_b/c\" is not accepted"},
		{"--site fra --node-label weft/site=home", "--site fra and --node-label weft/site=home differ; give one of them"},
		{"--node-external-ip 203.0.113.300", "neither an address"},
		{"--node-external-ip router", "nor a DNS name, such as n7.example.org"},
		{"--node-external-ip 127.0.0.1", "--node-external-ip"},
		{"--node-external-ip 127.0.0.1", "--node-external-ip 127.0.0.1: loopback (RFC 1122, section 3.2.1.3); nobody reaches the node there from outside"},
		{"--node-external-ip ::", "unspecified (RFC 4291"},
		{"--node-external-ip 224.0.0.1", "multicast (RFC 5771)"},
		{"--node-external-ip 203.0.113.7,169.254.169.254", "--node-external-ip 169.254.169.254: the instance metadata of most clouds"},
		{"--node-external-ip ::ffff:203.0.113.7", "write it as 203.0.113.7"},
		{"--node-external-ip fe80::1%eth0", "without a zone"},
		{"--node-external-ip n7.example.org,N7.example.org.", "is there twice"},
		{"--node-external-ip 203.0.113.7,203.0.113.7", "is there twice"},
		{"--iface-can-reach host", "--iface-can-reach"},
		{"--announce-prefix 10.244.1.0", "--announce-prefix"},
		{"--server https://s --node-name n --announce-prefix 10.244.1.1/24", "did you mean 10.244.1.0/24"},
		{"--egress-host-port 70000", "--egress-host-port 70000: accepted: 1 to 65535"},
		{"--egress-host-port ssh", "--egress-host-port"},
		{"--no-such-flag", "no-such-flag"},
		{"stray", "unknown command"},
		{"check-config stray", "stray"},
		{"--server https://s --node-name n --mark-mask 0x4f00", "has bits of kube-proxy's 0xc000"},
		{"--server https://s --node-name n --forwarding-guard on", "--forwarding-guard"},
		{"--server https://s --node-name n --wireguard go", `--wireguard "go": auto, kernel or userspace`},
		{"--server https://s --node-name n --vpn-auth name=zerotier", `--vpn-auth: name "zerotier" is no provider of this release`},
		{"--server https://s --node-name n --vpn-auth name=tailscale,joinKey=k,x", "what follows the comma after joinKey is no NAME=VALUE"},
		{"--server https://s --node-name n --vpn-auth-file /nonexistent/x", "--vpn-auth-file /nonexistent/x: open /nonexistent/x"},
		{"--server https://s --node-name n --vpn-auth name=tailscale --vpn-auth-file /x", "keep the file"},
		{"--server https://s --node-name n --vpn-auth name=tailscale --node-ip 10.0.0.1", "the node's address is that of its tailnet; leave --node-ip"},
		{"--server https://s --node-name n --vpn-auth name=tailscale --iface eth0", "leave --node-ip, --iface"},
		{"cleanup stray", "stray"},
		{"--server https://s --node-name N1", "--node-name"},
	} {
		var out bytes.Buffer
		err := run(context.Background(), strings.Fields(c.args), &out, &out)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{"--help": "--token-file", "version": "weft-agent", "--version": "weft-agent", "cleanup --help": "--purge"} {
		var out bytes.Buffer
		if err := run(context.Background(), strings.Fields(args), &out, &out); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, %q", args, err, out.String())
		}
	}
}
