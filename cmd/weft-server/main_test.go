package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-net/weft/cmd/internal/config"
	"github.com/weft-net/weft/server"
)

// asServer makes this test binary weft-server.
const asServer = "TEST_AS_WEFT_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func read(args ...string) (server.Config, *flags, error) {
	f := newFlags()
	err := config.Load(f.set, args, config.Options{Name: "server", Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		return server.Config{}, f, err
	}
	c, err := f.config()
	return c, f, err
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // listen, node IPs, cluster CIDRs, backend, masquerade, what was given
	}{
		{"", "0.0.0.0:7443 [] [10.42.0.0/16] vxlan auto map[]"},
		{"--data-dir D --listen 0.0.0.0:7443 --node-ip 192.0.2.1 --cluster-cidr 10.42.0.0/16,fd42:42::/48 --backend vxlan", "0.0.0.0:7443 [192.0.2.1] [10.42.0.0/16 fd42:42::/48] vxlan auto map[backend:--backend cluster-cidr:--cluster-cidr]"},
		{"--node-ip 192.0.2.1,2001:db8::1 --listen [::]:1", "[::]:1 [192.0.2.1 2001:db8::1] [10.42.0.0/16] vxlan auto map[]"},
		{"--flannel-backend host-gw", "0.0.0.0:7443 [] [10.42.0.0/16] host-gw auto map[backend:--flannel-backend]"},
		{"--flannel-backend none --backend none", "0.0.0.0:7443 [] [10.42.0.0/16] none auto map[backend:--flannel-backend]"},
		{"--backend wireguard", "0.0.0.0:7443 [] [10.42.0.0/16] wireguard auto map[backend:--backend]"},
		{"--backend wireguard-native --flannel-external-ip", "0.0.0.0:7443 [] [10.42.0.0/16] wireguard auto map[backend:--backend]"},
		{"--flannel-backend wireguard-native", "0.0.0.0:7443 [] [10.42.0.0/16] wireguard auto map[backend:--flannel-backend]"},
		{"--flannel-backend wireguard-native --backend wireguard", "0.0.0.0:7443 [] [10.42.0.0/16] wireguard auto map[backend:--flannel-backend]"},
		{"--backend auto --encryption always --topology site-gateways --wireguard-port 51830 --key-days 90 --post-quantum", "0.0.0.0:7443 [] [10.42.0.0/16] auto auto map[backend:--backend encryption:--encryption key-days:--key-days post-quantum:--post-quantum topology:--topology wireguard-port:--wireguard-port]"},
		{"--flannel-ipv6-masq", "0.0.0.0:7443 [] [10.42.0.0/16] vxlan always map[masquerade:--flannel-ipv6-masq]"},
		{"--flannel-external-ip --disable-network-policy", "0.0.0.0:7443 [] [10.42.0.0/16] vxlan auto map[]"},
		{"--egress-selector-mode pod --egress-fallback direct", "0.0.0.0:7443 [] [10.42.0.0/16] vxlan auto map[egress-fallback:--egress-fallback egress-selector-mode:--egress-selector-mode]"},
		{"--mtu 1400 --vni 77", "0.0.0.0:7443 [] [10.42.0.0/16] vxlan auto map[mtu:--mtu vni:--vni]"},
	} {
		s, _, err := read(strings.Fields(c.args)...)
		got := fmt.Sprint(s.Listen, " ", s.NodeIPs, " ", s.Seed.Spec.ClusterCIDRs, " ", s.Seed.Spec.Backend, " ", s.Seed.Spec.Masquerade, " ", s.Seed.Given)
		if err != nil || got != c.want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", c.args, got, err, c.want)
		}
	}
}

// TestAliases: K3s's words are told of once, with ours.
func TestAliases(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--backend wireguard-native", "--backend wireguard-native: --backend wireguard"},
		{"--flannel-backend wireguard-native", "--flannel-backend wireguard-native: --backend wireguard"},
		{"--flannel-backend vxlan", "--flannel-backend: --backend"},
		{"--backend wireguard", ""},
		{"--flannel-backend wireguard-native --flannel-external-ip", "--flannel-backend wireguard-native: --backend wireguard|--flannel-external-ip: nothing: with backends wireguard and auto, the addresses of an agent's --node-external-ip are tried anyway"},
		{"--flannel-external-ip", "--flannel-external-ip: --backend wireguard or auto: they try the addresses of an agent's --node-external-ip; backend vxlan goes by --node-ip alone"},
	} {
		f := newFlags()
		if err := config.Load(f.set, strings.Fields(c.args), config.Options{Name: "server", File: "/nonexistent"}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.config(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range f.aliases {
			got = append(got, a.old+": "+a.now)
		}
		if text := strings.Join(got, "|"); text != c.want {
			t.Errorf("%s: %s\nwant %s", c.args, text, c.want)
		}
	}
}

func TestFlagsRefused(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--cluster-cidr 10.42.0.1/16", "--cluster-cidr: 10.42.0.1/16 has bits below its length; did you mean 10.42.0.0/16?"},
		{"--cluster-cidr 10.42.0.0", `--cluster-cidr: "10.42.0.0" is no range`},
		{"--service-cidr x", `--service-cidr: "x" is no range`},
		{"--node-ip 192.0.2.1/24", `--node-ip: "192.0.2.1/24" is no address of a machine`},
		{"--node-ip 0.0.0.0", `--node-ip: "0.0.0.0" is no address of a machine`},
		{"--advertise-address example.org", `--advertise-address: "example.org" is no address`},
		{"--flannel-backend ipsec", "--flannel-backend: backend ipsec is not offered"},
		{"--backend ipsec", "--backend: backend ipsec is not offered, in K3s no more either: use wireguard"},
		{"--wireguard-port 70000", `invalid argument "70000" for "--wireguard-port" flag`},
		{"--key-days often", `invalid argument "often" for "--key-days" flag`},
		{"--flannel-backend tailscale", "--flannel-backend: K3s has no such word: there a node's --vpn-auth chooses it; write --backend tailscale here, and give --vpn-auth to each agent"},
		{"--vpn-auth name=tailscale", "--vpn-auth: each node is in the tailnet by itself; give it to its agent (weft-agent --vpn-auth), and --backend tailscale here"},
		{"--vpn-auth-file /x", "--vpn-auth-file: each node is in the tailnet by itself"},
		{"--flannel-iface eth1", "--flannel-iface: the device is each node's own; give it to its agent: weft-agent --iface eth1"},
		{"--flannel-backend host-gw --backend vxlan", `--flannel-backend says "host-gw" and --backend says "vxlan"; give one of them`},
		{"--vni x", `invalid argument "x" for "--vni" flag`},
		{"--log-level loud", "loud"},
		{"--etcd-password-file /nonexistent/x", "--etcd-password-file: open /nonexistent/x"},
		{"--config /nonexistent", "open /nonexistent: no such file or directory; it is what --config or WEFT_SERVER_CONFIG names"},
		{"--cluster-cird x", "unknown flag: --cluster-cird; see --help"},
		{"--backup-keep 0", "--backup-keep: 0 is too few; keep at least 1"},
		{"start", `unexpected argument "start"`},
	} {
		if _, _, err := read(strings.Fields(c.args)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.args, err, c.want)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"--help"}, &out, &errs); code != exitOK || errs.Len() > 0 {
		t.Error(code, errs.String())
	}
	for _, want := range []string{"This server:", "The cluster (", "--cluster-cidr ranges", "WEFT_CLUSTER_CIDR", "--config file"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	if code := run([]string{"--version"}, &out, &errs); code != exitOK || !strings.HasPrefix(out.String(), "weft-server ") {
		t.Error(code, out.String())
	}
	if code := run([]string{"--nope"}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "unknown flag: --nope") {
		t.Error(code, errs.String())
	}
}

// process is weft-server as one.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	ready  chan struct{}
	stderr *bytes.Buffer
}

// start runs weft-server; wait for ready or for its end.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), ready: make(chan struct{}), stderr: &bytes.Buffer{}}
	p.cmd.Env = append(os.Environ(), asServer+"=1", "NOTIFY_SOCKET="+socket, "WEFT_SERVER_CONFIG=")
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 1024)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			if strings.Contains(string(b[:n]), "READY=1") {
				close(p.ready)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	return p
}

func (p *process) waitReady() {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.t.Fatalf("not ready:\n%s", p.stderr)
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheServer(t *testing.T) {
	dir := t.TempDir()
	metrics := free(t)
	args := []string{"--data-dir", dir, "--listen", free(t), "--node-ip", "127.0.0.1", "--cluster-cidr", "10.42.0.0/16,fd42:42::/48", "--backend", "vxlan", "--metrics-listen", metrics}
	p := start(t, args...)
	p.waitReady()
	for _, name := range []string{"admin.yaml", "agent-token", "server.key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for path, want := range map[string]string{"livez": "ok", "readyz": "ok", "metrics": "weft_server_nodes_connected 0"} {
		r, err := http.Get("http://" + metrics + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d %s", path, r.StatusCode, b)
		}
	}
	refused := func(what, want string, args ...string) {
		t.Helper()
		second := start(t, args...)
		if err := second.cmd.Wait(); err == nil || !strings.Contains(second.stderr.String(), want) {
			t.Errorf("%s: %v\n%s", what, err, second.stderr)
		}
	}
	refused("the same folder", fmt.Sprintf("is in use by another weft-server (pid %d)", p.cmd.Process.Pid), "--data-dir", dir, "--listen", free(t))
	refused("the same port", "is in use by another process", "--data-dir", t.TempDir(), "--listen", args[3])
	refused("the same metrics port", "--metrics-listen "+metrics+" is in use", "--data-dir", t.TempDir(), "--listen", free(t), "--metrics-listen", metrics)

	before, err := os.ReadFile(filepath.Join(dir, "admin.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p = start(t, args...)
	p.waitReady()
	if after, _ := os.ReadFile(filepath.Join(dir, "admin.yaml")); !bytes.Equal(before, after) {
		t.Error("kill -9 and a new start changed admin.yaml")
	}
	stopping := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.stderr)
	}
	t.Logf("stopped in %v", time.Since(stopping))
	refused("another backend", "--backend says host-gw, the cluster runs with vxlan", append(args, "--backend", "host-gw")...)
}
