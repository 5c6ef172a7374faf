package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// The test binary is also the agent that its tests start in a namespace.
const asAgent = "WEFT_TEST_AGENT"

func TestMain(m *testing.M) {
	switch os.Getenv(asAgent) {
	case "run":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		exit(Run(ctx, Config{
			Servers: []string{"https://10.99.0.1:7443"}, TokenFile: os.Args[2], NodeName: os.Args[1], DataDir: os.Args[3], RunDir: os.Args[4],
			CNIConfDir: filepath.Join(os.Args[4], "net.d"), Iface: "eth0", MetricsListen: DefaultMetrics, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		}))
	case "cleanup":
		exit(Cleanup(context.Background(), Cleaning{DataDir: os.Args[3], RunDir: os.Args[4], CNIConfDir: filepath.Join(os.Args[4], "net.d"), Log: slog.New(slog.DiscardHandler)}, os.Stdout))
	default:
		os.Exit(m.Run())
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// rack is two nodes on one switch, with a scripted server on it. The test's own
// namespace is the switch.
type rack struct {
	t     *testing.T
	fab   *uplinktest.Fabric
	dir   string
	token string
	down  context.CancelFunc // of the server

	mu    sync.Mutex
	rev   int64
	peers map[string]intent.Peer
	open  map[string]*uplinktest.Stream
	acks  chan ack

	applied map[string]int64 // the test's own
	all     chan int64       // the first revision that has both nodes
}

type ack struct {
	node string
	rev  int64
}

var leases = map[string][]netip.Prefix{
	"n1": {pfx("10.42.1.0/24"), pfx("fd42:42:0:1::/64")},
	"n2": {pfx("10.42.2.0/24"), pfx("fd42:42:0:2::/64")},
}

func newRack(t *testing.T) *rack {
	kerneltest.Netns(t)
	r := &rack{t: t, fab: uplinktest.New(t), dir: t.TempDir(), peers: map[string]intent.Peer{}, open: map[string]*uplinktest.Stream{}, acks: make(chan ack, 1000), applied: map[string]int64{}, all: make(chan int64, 1)}
	r.token = filepath.Join(r.dir, "token")
	if err := os.WriteFile(r.token, []byte(r.fab.Token.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "ip link add br0 type bridge")
	kerneltest.Run(t, "ip addr add 10.99.0.1/24 dev br0")
	kerneltest.Run(t, "ip link set br0 up")
	for i, n := range []string{"n1", "n2"} {
		kerneltest.Run(t, "ip netns add "+ns(n))
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns(n)).Run() })
		kerneltest.Run(t, "ip link add "+n+" type veth peer name eth0 netns "+ns(n))
		kerneltest.Run(t, "ip link set "+n+" master br0 up")
		r.in(n, "ip link set lo up")
		r.in(n, fmt.Sprintf("ip addr add 10.99.0.%d/24 dev eth0", 11+i))
		r.in(n, "ip link set eth0 up")
	}
	r.up()
	go r.serve()
	return r
}

func ns(node string) string { return fmt.Sprintf("weft-t-agent-%d-%s", os.Getpid(), node) }

// up starts the server. The listener stays in the namespace where it was made.
func (r *rack) up() {
	r.t.Helper()
	l, err := net.Listen("tcp", "10.99.0.1:7443")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.down = cancel
	r.t.Cleanup(cancel)
	r.fab.ServeOn(ctx, l)
}

// serve is the least that a server does: whoever comes gets its lease, and
// everybody hears of everybody.
func (r *rack) serve() {
	for s := range r.fab.Streams {
		name := s.Hello.GetNode()
		r.learn(name, s.Hello.GetReport())
		r.mu.Lock()
		r.open[name] = s
		r.mu.Unlock()
		r.tellAll()
		go s.Beat(s.Context())
		go func() {
			for {
				select {
				case <-s.Context().Done():
					return
				case m := <-s.Up:
					if m.GetReport() != nil {
						r.learn(name, m.GetReport())
						r.tellAll()
					}
					if m.GetAck() != nil {
						r.acks <- ack{name, m.GetAck().GetRevision()}
					}
				}
			}
		}()
	}
}

func (r *rack) learn(name string, report *weftv1.NodeReport) {
	us, err := intent.DecodeUnderlay(report.GetAddresses())
	if err != nil {
		r.t.Error(err)
	}
	mac, err := intent.ParseMAC(report.GetVtepMac())
	if err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rev++
	_, known := r.peers[name]
	r.peers[name] = intent.Peer{Name: name, Lease: leases[name], Underlay: us, VTEP: mac}
	if !known && len(r.peers) == len(leases) {
		r.all <- r.rev
	}
}

func (r *rack) tellAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	cluster := intent.Cluster{
		CIDRs: []netip.Prefix{pfx("10.42.0.0/16"), pfx("fd42:42::/48")}, Masquerade: []netip.Prefix{pfx("10.42.0.0/16"), pfx("fd42:42::/48")},
		Backend: intent.VXLAN, VNI: 4096, VXLANPort: 8472,
	}
	msgs := []*weftv1.SyncResponse{uplinktest.Begin(), uplinktest.Set(intent.CollectionCluster, intent.KeyCluster, intent.EncodeCluster(cluster))}
	for name, p := range r.peers {
		msgs = append(msgs, uplinktest.Set(intent.CollectionPeers, intent.PeerKey(name), intent.EncodePeer(p)))
	}
	msgs = append(msgs, uplinktest.End(), uplinktest.Complete("e1", r.rev))
	for _, s := range r.open {
		for _, m := range msgs {
			_ = s.Send(m) // a stream that has ended
		}
	}
}

// whole waits until all nodes are known, and gives the revision that has them.
func (r *rack) whole() int64 {
	r.t.Helper()
	select {
	case rev := <-r.all:
		return rev
	case <-time.After(30 * time.Second):
		r.t.Fatal("not all agents came")
		return 0
	}
}

// acked waits until nodes have applied a revision, or a later one.
func (r *rack) acked(rev int64, nodes ...string) {
	r.t.Helper()
	late := time.After(30 * time.Second)
	for _, n := range nodes {
		for r.applied[n] < rev {
			select {
			case a := <-r.acks:
				r.applied[a.node] = max(r.applied[a.node], a.rev)
			case <-late:
				r.t.Fatalf("revision %d not acknowledged by %s: %v", rev, n, r.applied)
			}
		}
	}
}

// in runs a command in a node's namespace.
func (r *rack) in(node, line string) string {
	r.t.Helper()
	return kerneltest.Run(r.t, "ip netns exec "+ns(node)+" "+line)
}

// agent runs the test binary as an agent in a node's namespace.
func (r *rack) agent(node, as string) *exec.Cmd {
	r.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", ns(node), os.Args[0], node, r.token, filepath.Join(r.dir, node), filepath.Join(r.dir, node+"-run"))
	cmd.Env = append(os.Environ(), asAgent+"="+as)
	log := &bytes.Buffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("agent %s:\n%s", node, log)
		}
	})
	return cmd
}

func (r *rack) end(cmd *exec.Cmd, sig os.Signal) {
	r.t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil && sig == syscall.SIGTERM {
		r.t.Errorf("agent: %v", err)
	}
}

// ready waits for an agent's first turn.
func (r *rack) ready(node string) {
	r.t.Helper()
	r.until(node, "curl -sf http://127.0.0.1:7447/readyz", "ok")
}

// until repeats what can only be seen from outside.
func (r *rack) until(node, line, want string) {
	r.t.Helper()
	words := append([]string{"netns", "exec", ns(node)}, strings.Fields(line)...)
	var out []byte
	for range 1500 {
		out, _ = exec.Command("ip", words...).CombinedOutput()
		if strings.Contains(string(out), want) {
			return
		}
		time.Sleep(10 * time.Millisecond) // a poll of another process
	}
	r.t.Fatalf("%s: %q never showed; last:\n%s", line, want, out)
}

// flow pings until it is stopped, and tells what was lost.
func (r *rack) flow(node, to string) (lost func() string) {
	r.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", ns(node), "ping", "-q", "-i", "0.02", "-W", "2", to)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() string {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
		m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(out.String())
		if m == nil {
			return "ping said nothing: " + out.String()
		}
		if m[1] != m[2] {
			return m[0]
		}
		return ""
	}
}

// The data path of real agents: it comes up, outlives agents and server, comes
// back from disk, heals, follows an address, and is removed by cleanup alone.
func TestAgentsOnTheRealKernel(t *testing.T) {
	r := newRack(t)
	a1, a2 := r.agent("n1", "run"), r.agent("n2", "run")
	r.acked(r.whole(), "n1", "n2")
	r.in("n1", "ping -c 1 -W 2 10.42.2.0")
	r.in("n2", "ping -c 1 -W 2 fd42:42:0:1::")
	lost4, lost6 := r.flow("n1", "10.42.2.0"), r.flow("n1", "fd42:42:0:2::")

	r.end(a1, syscall.SIGKILL)
	a1 = r.agent("n1", "run")
	r.ready("n1")
	r.end(a2, syscall.SIGTERM)
	r.down() // from here on, no server
	a2 = r.agent("n2", "run")
	r.ready("n2")
	r.end(a1, syscall.SIGKILL)
	a1 = r.agent("n1", "run")
	r.ready("n1")
	if lost := lost4() + lost6(); lost != "" {
		t.Errorf("lost while agents and server went: %s", lost)
	}

	r.in("n1", "ip route del 10.42.2.0/24 proto 87")
	r.until("n1", "ip route show proto 87", "10.42.2.0/24")
	r.in("n1", "nft delete table inet weft")
	r.until("n1", "nft list tables", "inet weft")
	r.in("n1", "ip link del weft-vx")
	r.until("n1", "ping -c 1 -W 1 10.42.2.0", "1 received")

	r.up()
	r.until("n2", "curl -sf http://127.0.0.1:7447/metrics", "weft_agent_server_connected 1")
	conventions(t, r.in("n2", "curl -sf http://127.0.0.1:7447/metrics"))
	moved := time.Now()
	r.in("n2", "ip addr flush dev eth0 scope global") // and with it goes the stream's own address
	r.in("n2", "ip addr add 10.99.0.22/24 dev eth0")
	r.until("n1", "bridge fdb show dev weft-vx", "10.99.0.22")
	if took := time.Since(moved); took > 6*time.Second { // 8 s is what silence alone would take
		t.Errorf("peers heard of another address after %v", took)
	}
	r.until("n1", "ping -c 1 -W 1 10.42.2.0", "1 received")
	env, err := os.ReadFile(filepath.Join(r.dir, "n1-run", envName))
	if err != nil || !strings.Contains(string(env), "WEFT_FABRIC_IPV4=10.42.1.0\n") {
		t.Errorf("node.env: %q, %v", env, err)
	}

	if _, err := os.Stat(filepath.Join(r.dir, "n1-run", "net.d", conflistName)); err != nil {
		t.Errorf("CNI configuration: %v", err)
	}

	r.end(a1, syscall.SIGTERM)
	r.end(a2, syscall.SIGTERM)
	r.in("n1", "ping -c 1 -W 2 10.42.2.0") // stopping leaves everything
	cleanup := r.agent("n1", "cleanup")
	if err := cleanup.Wait(); err != nil {
		t.Errorf("cleanup: %v", err)
	}
	for _, c := range []struct{ line, never string }{
		{"ip -br link", "weft"}, {"ip route show proto 87", "10."}, {"ip -6 route show proto 87", "fd"}, {"nft list tables", "weft"},
	} {
		if out := r.in("n1", c.line); strings.Contains(out, c.never) {
			t.Errorf("after cleanup, %s:\n%s", c.line, out)
		}
	}
	if out := r.in("n1", "cat /proc/sys/net/ipv4/ip_forward"); out != "0\n" {
		t.Errorf("after cleanup, ip_forward is %q", out)
	}
}
