package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// perProcess bounds the agents of a generator: each has a connection and a locked
// folder, and a process has at most 20,000 files.
const perProcess = 1250

// fabric is what is measured.
type fabric struct {
	options
	size    int
	lab     *lab.Lab
	host    *lab.Host
	etcd    *exec.Cmd
	servers []*lab.Process
	swarms  []*child
	meter   *meter
	out     *table
}

// child is a generator.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	from int // its agents: from, …, to-1
	to   int
}

func newFabric(ctx context.Context, o options, size int) (f *fabric, err error) {
	f = &fabric{options: o, size: size, out: &table{path: o.csv}}
	if f.lab, err = lab.New(ctx, o.bin); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.host, err = f.lab.Namespace(ctx, "scale"); err != nil {
		return f, err
	}
	if _, err = f.host.Run(ctx, "sh", "-c", "ip link set lo up && ip addr add 192.0.2.1/32 dev lo && echo 4096 >/proc/sys/net/core/somaxconn && echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range"); err != nil {
		return f, err
	}
	if o.etcd == "external" {
		if err = f.startEtcd(); err != nil {
			return f, err
		}
	}
	f.servers = make([]*lab.Process, o.servers)
	for i := range f.servers {
		if err = f.startServer(ctx, i); err != nil {
			return f, err
		}
	}
	if f.meter, err = newMeter(ctx, f.socket()); err != nil {
		return f, err
	}
	for from := 0; from < size; from += perProcess {
		if err = f.startSwarm(ctx, from, min(size, from+perProcess)); err != nil {
			return f, err
		}
	}
	return f, nil
}

// folder is a short path: that of a socket has 107 bytes at most.
func (f *fabric) folder(name string) string { return filepath.Join(f.lab.Dir, name) }

func (f *fabric) socket() string {
	if f.options.etcd == "external" {
		return filepath.Join(f.folder("etcd"), "client.sock")
	}
	return filepath.Join(f.folder("s1"), "etcd", "client.sock")
}

func (f *fabric) startEtcd() error {
	if err := os.MkdirAll(f.folder("etcd"), 0o700); err != nil {
		return err
	}
	f.etcd = exec.Command(f.self, "etcd", f.folder("etcd"))
	f.etcd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := f.etcd.StdinPipe(); err != nil {
		return err
	}
	out, err := f.etcd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := f.etcd.Start(); err != nil {
		return err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return fmt.Errorf("etcd said %q: %w", line, err)
	}
	return nil
}

func (f *fabric) port(i int) int { return 7443 + 10*i }

// startServer starts a server and waits until it is ready.
func (f *fabric) startServer(ctx context.Context, i int) (err error) {
	name := fmt.Sprintf("s%d", i+1)
	args := []string{
		"weft-server", "--name", name, "--data-dir", f.folder(name), "--listen", fmt.Sprintf("192.0.2.1:%d", f.port(i)), "--node-ip", "192.0.2.1",
		"--metrics-listen", fmt.Sprintf("127.0.0.1:%d", 17446+i), "--cluster-cidr", "10.0.0.0/8", "--log-level", "warn",
	}
	if f.options.etcd == "external" {
		args = append(args, "--etcd-endpoints", "unix://"+f.socket())
	}
	if i == 0 {
		args = append(args, f.args...)
	}
	if i > 0 && f.servers[i] == nil {
		if err := f.introduce(name); err != nil {
			return err
		}
	}
	f.servers[i], err = f.host.StartReady(ctx, name, args...)
	return err
}

// introduce gives a further server the key that the CA is sealed with.
func (f *fabric) introduce(name string) error {
	if err := os.MkdirAll(f.folder(name), 0o700); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(f.folder("s1"), "server.key"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(f.folder(name), "server.key"), key, 0o600)
}

func (f *fabric) startSwarm(ctx context.Context, from, to int) error {
	var urls []string
	for i := range f.servers {
		urls = append(urls, fmt.Sprintf("192.0.2.1:%d", f.port((i+from/perProcess)%len(f.servers))))
	}
	folder, err := os.MkdirTemp("/dev/shm", "weft-scale-")
	if err != nil {
		return err
	}
	cmd := f.host.Command(context.Background(), f.self, "agents", strings.Join(urls, ","), filepath.Join(f.folder("s1"), "agent-token"), folder, "bench", strconv.FormatBool(f.options.tunnels))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "GOGC=400", "GOMEMLIMIT=2GiB") // what collecting costs is no agent's
	c := &child{cmd: cmd, from: from, to: to}
	if c.in, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	c.out = bufio.NewReaderSize(out, 1<<20)
	f.swarms = append(f.swarms, c)
	return cmd.Start()
}

// ask sends one order.
func (c *child) ask(o order) (a answer, err error) {
	b, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return a, err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("a generator ended: %w", err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", o.Do, a.Error)
	}
	return a, nil
}

// ask sends an order to all generators at once.
func (f *fabric) ask(o order) ([]answer, error) {
	answers, errs := make([]answer, len(f.swarms)), make([]error, len(f.swarms))
	var all sync.WaitGroup
	for i, c := range f.swarms {
		all.Go(func() { answers[i], errs[i] = c.ask(o) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// aim sets a goal for all agents; its time counts from now.
func (f *fabric) aim(w wanted) (time.Time, error) {
	start := time.Now()
	_, err := f.ask(order{Do: "aim", Want: w, Start: start.UnixNano()})
	return start, err
}

// await returns when all agents have reached the goal.
func (f *fabric) await(within time.Duration) (all, slow times, err error) {
	answers, err := f.ask(order{Do: "await", Within: within.Seconds()})
	if err != nil {
		return times{}, times{}, err
	}
	var ds []time.Duration
	for _, a := range answers {
		if a.Missing > 0 {
			return times{}, times{}, fmt.Errorf("after %v, %d agents of a generator are not there; %s", within, a.Missing, a.Why)
		}
		for _, us := range a.All {
			ds = append(ds, time.Duration(us)*time.Microsecond)
		}
		if a.Slow.Last > slow.Last {
			slow = a.Slow
		}
	}
	return spread(ds), slow, nil
}

// weft runs the operator's CLI.
func (f *fabric) weft(ctx context.Context, args ...string) (string, error) {
	return f.host.Run(ctx, append([]string{"weft", "--config", filepath.Join(f.folder("s1"), "admin.yaml")}, args...)...)
}

// metrics of all servers, added up.
func (f *fabric) metrics(ctx context.Context) (map[string]float64, error) {
	out := map[string]float64{}
	for i := range f.servers {
		text, err := f.host.Run(ctx, "curl", "-sS", fmt.Sprintf("http://127.0.0.1:%d/metrics", 17446+i))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
			if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
				out[name] += v
			}
		}
	}
	return out, nil
}

// inStep returns when the servers have every agent's acknowledgement.
func (f *fabric) inStep(ctx context.Context, agents int) error {
	return lab.Until(ctx, "all in step", func() (string, error) {
		m, err := f.metrics(ctx)
		if err != nil {
			return "", err
		}
		answer := fmt.Sprintf("%v connected, %v behind", m["weft_server_nodes_connected"], m["weft_server_nodes_behind"])
		if int(m["weft_server_nodes_connected"]) != agents || m["weft_server_nodes_behind"] != 0 {
			time.Sleep(100 * time.Millisecond) // the question costs the server something
			return answer, fmt.Errorf("not yet")
		}
		return answer, nil
	})
}

func (f *fabric) close() {
	for _, c := range f.swarms {
		_ = c.in.Close()
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		for _, a := range c.cmd.Args {
			if strings.HasPrefix(a, "/dev/shm/weft-scale-") {
				_ = os.RemoveAll(a)
			}
		}
	}
	if f.meter != nil {
		f.meter.close()
	}
	if f.keep {
		fmt.Println("left behind:", f.lab.Dir)
		for _, s := range f.servers {
			if s != nil {
				s.Kill()
			}
		}
	}
	if f.etcd != nil && f.etcd.Process != nil {
		_ = f.etcd.Process.Kill()
		_ = f.etcd.Wait()
	}
	if !f.keep {
		_ = f.lab.Close()
	}
}
