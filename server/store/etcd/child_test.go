package etcd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// childEnv makes the test binary an etcd server of today, as a process of its
// own: a data folder, a client URL and, for https, a folder with ca.crt,
// server.crt and server.key. "embed" and a data folder only try Embed.
const childEnv = "WEFT_TEST_ETCD"

// serveChild serves until standard input ends, as it does when the test's process
// does.
func serveChild() {
	parts := strings.Split(os.Getenv(childEnv), " ")
	if parts[0] == "embed" {
		_, err := Embed(context.Background(), Config{DataDir: parts[1]})
		_, _ = fmt.Println(err)
		os.Exit(0)
	}
	config := embed.NewConfig()
	config.Dir = parts[0]
	client, err := url.Parse(parts[1])
	if err != nil {
		panic(err)
	}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(parts[0], "peer.sock")}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.BcryptCost = 4 // the least: this is about users, not about time
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	if client.Scheme == "https" {
		config.ClientTLSInfo.TrustedCAFile = filepath.Join(parts[2], "ca.crt")
		config.ClientTLSInfo.CertFile = filepath.Join(parts[2], "server.crt")
		config.ClientTLSInfo.KeyFile = filepath.Join(parts[2], "server.key")
		config.ClientTLSInfo.ClientCertAuth = true
	}
	e, err := embed.StartEtcd(config)
	if err != nil {
		panic(err)
	}
	<-e.Server.ReadyNotify()
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// process is an etcd that the test started.
type process struct {
	cmd  *exec.Cmd
	args []string // of childEnv
}

// child starts this binary as an etcd and waits until it is ready.
func child(t *testing.T, dir, clientURL, tlsDir string) *process {
	t.Helper()
	p := &process{args: []string{dir, clientURL, tlsDir}}
	p.start(t)
	t.Cleanup(p.kill)
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(p.args, " "))
	p.cmd.Stderr = os.Stderr
	if _, err := p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("etcd said %q, %v", line, err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// debian starts Debian's etcd on loopback: it takes no path for a unix socket.
func debian(t *testing.T) (endpoint string) {
	t.Helper()
	path, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("no etcd on this machine: apt-get install etcd-server")
	}
	dir := t.TempDir()
	endpoint = "http://" + freePort(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // ends the process also if it says nothing
	cmd := exec.CommandContext(ctx, path, "--data-dir", filepath.Join(dir, "data"), "--log-outputs", "stderr", "--logger", "zap",
		"--listen-client-urls", endpoint, "--advertise-client-urls", endpoint,
		"--listen-peer-urls", "http://127.0.0.1:0",
		"--initial-advertise-peer-urls", "http://localhost:1", "--initial-cluster", "default=http://localhost:1")
	log, err := cmd.StderrPipe()
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	var said []string
	for lines := bufio.NewScanner(log); lines.Scan(); said = append(said, lines.Text()) {
		if strings.Contains(lines.Text(), "serving client traffic") {
			go func() { _, _ = io.Copy(io.Discard, log) }() // ends with the process
			return endpoint
		}
	}
	t.Fatalf("etcd gave up:\n%s", strings.Join(said, "\n"))
	return ""
}

// freePort is one that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
