package tailnet

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// patience bounds every wait: far longer than a slow machine needs.
const patience = 3 * time.Minute

// net is a fabric whose nodes stand in a tailnet.
type tailnet struct {
	*lab.Fabric
	t       *testing.T
	ctx     context.Context
	control *control
	bin     string // folder of Tailscale's programs and Headscale's
}

// newTailnet makes a control server on s1 and a daemon on each node.
func newTailnet(t *testing.T, nodes int) *tailnet {
	t.Helper()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	n := &tailnet{t: t, bin: filepath.Join(bin, "tailnet")}
	for _, name := range []string{"tailscale", "tailscaled", "headscale"} {
		if _, err := os.Stat(filepath.Join(n.bin, name)); err != nil {
			t.Fatalf("%v: run make test-tailscale, which builds it", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	n.ctx = ctx
	if n.Fabric, err = lab.NewFabric(ctx, bin, lab.Layout{Nodes: nodes}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	if n.control, err = startControl(ctx, n.Server, netip.MustParseAddr(n.NodeIPs(n.Server)[0]), filepath.Join(n.bin, "headscale")); err != nil {
		t.Fatal(err)
	}
	for _, h := range n.Nodes {
		if _, err := startDaemon(ctx, n.Fabric, h, n.bin, n.control.ca); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// close ends the lab, and shows the logs of a test that failed.
func (n *tailnet) close() {
	if n.t.Failed() {
		logs, _ := filepath.Glob(filepath.Join(n.Dir, "*", "*.log"))
		for _, path := range logs {
			b, _ := os.ReadFile(path)
			lines := strings.Split(strings.TrimSpace(string(b)), "\n")
			n.t.Logf("%s\n%s", path, strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	}
	if err := n.Close(); err != nil {
		n.t.Error(err)
	}
}

// on runs a command that must succeed.
func (n *tailnet) on(h *lab.Host, args ...string) string {
	n.t.Helper()
	out, err := h.Run(n.ctx, args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// until waits for a pattern in what weft says, whatever its exit status.
func (n *tailnet) until(pattern string, args ...string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.ctx, patience)
	defer cancel()
	var out string
	if err := lab.Until(ctx, pattern, func() (string, error) {
		out, _ = n.Weft(ctx, args...)
		if !regexp.MustCompile(pattern).MatchString(out) {
			return out, lab.ErrNotYet
		}
		return out, nil
	}); err != nil {
		n.t.Fatal(err)
	}
	return out
}

// join starts the agent of a node with a key to the tailnet.
func (n *tailnet) join(h *lab.Host, flags ...string) {
	n.t.Helper()
	key, err := n.control.key(n.ctx, flags...)
	if err != nil {
		n.t.Fatal(err)
	}
	path := filepath.Join(h.Dir(), "vpn")
	text := fmt.Sprintf("name=tailscale,joinKey=%s,controlServerURL=%s", key, n.control.url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.ctx, patience)
	defer cancel()
	if err := n.StartAgent(ctx, h, "--vpn-auth-file", path); err != nil {
		n.t.Fatal(err)
	}
}

// reach pings every address of a pod from another.
func (n *tailnet) reach(from, to *lab.Pod, args ...string) {
	n.t.Helper()
	for _, a := range to.Addrs {
		n.on(from.Host, append(append([]string{"ping", "-c", "3", "-i", "0.2", "-W", "10"}, args...), a.String())...)
	}
}

// fabric joins all nodes, and gives each a pod.
func (n *tailnet) fabric() []*lab.Pod {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.ctx, patience)
	defer cancel()
	if err := n.StartServer(ctx, "--backend=tailscale"); err != nil {
		n.t.Fatal(err)
	}
	for _, h := range n.Nodes {
		n.join(h, "--tags", tag)
	}
	if err := n.InStep(ctx, len(n.Nodes)); err != nil {
		n.t.Fatal(err)
	}
	var pods []*lab.Pod
	for _, h := range n.Nodes {
		p, err := n.NewPod(ctx, h, "p", nil)
		if err != nil {
			n.t.Fatal(err)
		}
		pods = append(pods, p)
	}
	return pods
}

var approvers = regexp.MustCompile(`"autoApprovers": (\{.*?\}\})`)

// approve pastes into the tailnet's policy what weft status says.
func (n *tailnet) approve() {
	n.t.Helper()
	status := n.until(`the tailnet carries no (.|\n)*"autoApprovers"`, "status")
	m := approvers.FindStringSubmatch(status)
	if m == nil || !strings.Contains(m[1], `"10.42.0.0/16":["`+tag+`"]`) {
		n.t.Fatalf("no autoApprovers of the fabric's in\n%s", status)
	}
	if err := n.control.approve([]byte(m[1])); err != nil {
		n.t.Fatal(err)
	}
	n.until("no problems", "status")
}

// TestPodsTravel: two nodes come into a tailnet by their agents, what is not approved
// is told with what to paste, and once it is pasted pods' packets of both families
// travel through tailscaled, with their own addresses, up to its MTU.
func TestPodsTravel(t *testing.T) {
	n := newTailnet(t, 2)
	pods := n.fabric()
	n1, n2 := n.Nodes[0], n.Nodes[1]
	if out, err := pods[0].Run(n.ctx, "ping", "-c", "1", "-W", "2", pods[1].Addrs[0].String()); err == nil {
		t.Fatalf("a route that nobody approved carries:\n%s", out)
	}
	n.until(`n1 -> n2 .*TAILNET`, "mesh", "explain", "n1", "n2")
	n.approve()
	for i, family := range []string{"ip", "ip6"} {
		from, to := pods[0].Addrs[i].String(), pods[1].Addrs[i].String()
		n.on(n1, "nft", fmt.Sprintf("add table inet t%d; add chain inet t%[1]d f { type filter hook forward priority 300; }; add rule inet t%[1]d f oifname tailscale0 %s saddr %s %[2]s daddr %[4]s counter", i, family, from, to))
		n.on(pods[1].Host, "nft", fmt.Sprintf("add table inet t%d; add chain inet t%[1]d f { type filter hook input priority 0; }; add rule inet t%[1]d f %s saddr %s counter", i, family, from))
	}
	n.reach(pods[0], pods[1])
	n.reach(pods[1], pods[0])
	for i := range pods[0].Addrs {
		table := fmt.Sprintf("t%d", i)
		for _, h := range []*lab.Host{n1, pods[1].Host} {
			if out := n.on(h, "nft", "list", "table", "inet", table); !regexp.MustCompile(`counter packets [1-9]`).MatchString(out) {
				t.Errorf("no packet of %v went that way:\n%s", pods[0].Addrs[i], out)
			}
		}
	}
	n.mtu(pods)
	n.reach2(n1, n2)
}

// mtu: pods have the MTU of the tailnet's device, and packets of that size arrive.
func (n *tailnet) mtu(pods []*lab.Pod) {
	n.t.Helper()
	const mtu, headers = 1280, 28
	n.reach(&lab.Pod{Host: pods[0].Host}, &lab.Pod{Addrs: pods[1].Addrs[:1]}, "-M", "do", "-s", fmt.Sprint(mtu-headers))
	out, err := pods[0].Run(n.ctx, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", fmt.Sprint(mtu-headers+1), pods[1].Addrs[0].String())
	if err == nil || !strings.Contains(out, "mtu=1280") && !strings.Contains(out, "mtu = 1280") {
		n.t.Errorf("a packet of 1281 bytes: %v, %s", err, out)
	}
}

// reach2 pings the fabric's addresses of two nodes, each from the other.
func (n *tailnet) reach2(a, b *lab.Host) {
	n.t.Helper()
	for _, pair := range [][2]*lab.Host{{a, b}, {b, a}} {
		out := n.on(pair[1], "ip", "-o", "addr", "show", "dev", "weft0", "scope", "global")
		for _, m := range regexp.MustCompile(`inet6? ([0-9a-f.:]+)/`).FindAllStringSubmatch(out, -1) {
			n.on(pair[0], "ping", "-c", "2", "-i", "0.2", "-W", "10", m[1])
		}
	}
}

// TestAgentComesAndGoes: what an agent that is killed did stays, and packets with it;
// what an operator does to Tailscale meanwhile stays too; and cleanup takes back what
// weft did and nothing else.
func TestAgentComesAndGoes(t *testing.T) {
	n := newTailnet(t, 2)
	pods := n.fabric()
	n1 := n.Nodes[0]
	n.approve()
	flow, err := lab.StartFlow(pods[0].Host, pods[1].Addrs[0], 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(flow.Close)
	n.Agents["n1"].Kill()
	routes, err := advertised(n.ctx, n1)
	if err != nil || len(routes) != 2 {
		t.Fatalf("advertised %v, %v: want the leases", routes, err)
	}
	n.on(n1, "tailscale", "set", "--advertise-routes="+strings.Join(append(routes, "192.168.77.0/24"), ","), "--webclient=true")
	n.join(n1, "--tags", tag)
	n.until("no problems", "status")
	if count, err := flow.Stop(n.ctx); err != nil || count.Missing() > 0 {
		t.Errorf("%v, %v: want none lost while the agent was away", count, err)
	}
	if now, err := advertised(n.ctx, n1); err != nil || !slices.Contains(now, "192.168.77.0/24") || len(now) != 3 {
		t.Errorf("advertised %v, %v: want the leases and an operator's", now, err)
	}
	n.expire(n1)
	if now, err := advertised(n.ctx, n1); err != nil || !slices.Contains(now, "192.168.77.0/24") || len(now) != 3 {
		t.Errorf("after another login: advertised %v, %v: want the leases and an operator's", now, err)
	}
	if prefs := n.on(n1, "tailscale", "debug", "prefs"); !strings.Contains(prefs, `"RunWebClient": true`) {
		t.Errorf("another login reset --webclient:\n%s", prefs)
	}
	n.leave(n1)
}

// expire ends the key of a node, and waits until its agent has logged it in again.
func (n *tailnet) expire(h *lab.Host) {
	n.t.Helper()
	was, err := ask(n.ctx, h)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.control.run(n.ctx, "nodes", "expire", "--identifier", was.Self.ID); err != nil {
		n.t.Fatal(err)
	}
	n.until(`\bn1\b.*(logged out|tailscaled is not up)`, "status")
	n.until("no problems", "status")
}

// leave is cleanup, after which Tailscale is as it was but for what others did.
func (n *tailnet) leave(h *lab.Host) {
	n.t.Helper()
	if err := n.Agents[h.Name].Stop(time.Minute); err != nil {
		n.t.Fatal(err)
	}
	out := n.on(h, "weft-agent", "cleanup", "--data-dir", filepath.Join(h.Dir(), "data"), "--run-dir", filepath.Join(h.Dir(), "run"), "--cni-conf-dir", filepath.Join(h.Dir(), "net.d"))
	for _, want := range []string{"ran tailscale set --advertise-routes=192.168.77.0/24\n", "ran tailscale set --accept-routes=false\n", "ran tailscale down\n"} {
		if !strings.Contains(out, want) {
			n.t.Errorf("cleanup did not say %q:\n%s", want, out)
		}
	}
	if now, err := ask(n.ctx, h); err != nil || now.BackendState != "Stopped" {
		n.t.Errorf("%+v, %v: want it down, as it was", now, err)
	}
}
