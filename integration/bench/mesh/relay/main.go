package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Where things are: a bridge in the server's namespace, nodes a and b on it.
const (
	prefix     = "weft-t-relay-"
	serverAddr = "192.0.2.1"
	serverPort = "7443"
	wgPort     = "51820"
)

// node is one end.
type node struct{ name, under, inner, port string }

var ends = [2]node{{"a", "192.0.2.11", "10.99.0.1", "40001"}, {"b", "192.0.2.12", "10.99.0.2", "40002"}}

func (n node) space() string { return prefix + n.name }

func main() {
	runs := flag.Int("runs", 5, "how often each is measured, in turn")
	seconds := flag.Int("seconds", 4, "of each measurement")
	streams := flag.Int("streams", 1, "TCP connections at once")
	profile := flag.String("profile", "", "folder for CPU profiles of the relay's processes")
	role := flag.String("role", "", "what this process is: set by the one that measures")
	flag.Parse()
	var err error
	switch *role {
	case "":
		err = measure(*runs, *seconds, *streams, *profile)
	case "device":
		err = device(flag.Args())
	case "agent":
		err = agent(flag.Args(), *profile)
	case "server":
		err = server(flag.Args(), *profile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

// bench is a measurement under way.
type bench struct {
	dir, profile     string
	seconds, streams int
	children         []*exec.Cmd
}

func measure(runs, seconds, streams int, profile string) (err error) {
	dir, err := os.MkdirTemp("", "weft-bench-relay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := certificates(dir); err != nil {
		return err
	}
	b := &bench{dir: dir, seconds: seconds, streams: streams, profile: profile}
	defer b.stop()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	go func() { <-stop; b.stop(); os.Exit(1) }()
	if err := b.start(); err != nil {
		return err
	}
	var direct, relayed, ratios []float64
	for range runs {
		d, err := b.once(false)
		if err != nil {
			return err
		}
		r, err := b.once(true)
		if err != nil {
			return err
		}
		direct, relayed, ratios = append(direct, d), append(relayed, r), append(ratios, r/d)
		fmt.Fprintf(os.Stderr, "  direct %7.0f Mbit/s   relayed %7.0f Mbit/s   ratio %.2f\n", d, r, r/d)
	}
	fmt.Printf("| relay throughput, ratio to wireguard-go direct, two namespaces, %d TCP, %d rounds in turns | >= 0.25 | 0.10 (simple relay), 0.05 (DERP); wireguard-go direct in the same run: %s Mbit/s | **%s**, %s Mbit/s |\n",
		streams, runs, spread(direct, 0), spread(ratios, 2), spread(relayed, 0))
	return nil
}

func spread(v []float64, digits int) string {
	slices.Sort(v)
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, v[len(v)/2], digits, v[0], digits, v[len(v)-1])
}

// start makes the namespaces and all processes.
func (b *bench) start() error {
	hub := prefix + "s"
	cmds := []string{"netns add " + hub, "-n " + hub + " link set lo up", "-n " + hub + " link add br0 type bridge", "-n " + hub + " link set br0 up", "-n " + hub + " addr add " + serverAddr + "/24 dev br0"}
	for _, n := range ends {
		cmds = append(cmds, "netns add "+n.space(), "-n "+n.space()+" link set lo up",
			"-n "+hub+" link add v"+n.name+" type veth peer name eth0 netns "+n.space(),
			"-n "+hub+" link set v"+n.name+" master br0 up", "-n "+n.space()+" link set eth0 up", "-n "+n.space()+" addr add "+n.under+"/24 dev eth0")
	}
	for _, c := range cmds {
		if err := ip(c); err != nil {
			return err
		}
	}
	for i, n := range ends {
		if err := b.child(n.space(), "device", "wg0", wgPort, n.name, ends[1-i].name, ends[1-i].inner+"/32", filepath.Join(b.dir, n.name+".sock")); err != nil {
			return err
		}
		for _, c := range []string{"link set wg0 mtu 1420 up", "addr add " + n.inner + "/24 dev wg0"} {
			if err := ip("-n " + n.space() + " " + c); err != nil {
				return err
			}
		}
	}
	if err := b.child(hub, "server", serverAddr+":"+serverPort, b.dir); err != nil {
		return err
	}
	for i, n := range ends {
		if err := b.child(n.space(), "agent", n.name, ends[1-i].name, n.port, b.dir); err != nil {
			return err
		}
	}
	return nil
}

// child starts a role in a namespace, and waits until it says that it is there.
func (b *bench) child(space, role string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", space, self, "-role", role, "-profile", b.profile}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // its end is ours
	if err != nil {
		return err
	}
	_ = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.children = append(b.children, cmd)
	said := make([]byte, 6)
	if _, err := out.Read(said); err != nil || !strings.HasPrefix(string(said), "ready") {
		return fmt.Errorf("%s in %s did not start", role, space)
	}
	return nil
}

func (b *bench) stop() {
	for _, c := range b.children {
		_ = c.Process.Signal(os.Interrupt)
	}
	for _, c := range b.children {
		_ = c.Wait()
	}
	b.children = nil
	for _, n := range []string{"a", "b", "s"} {
		_ = ip("netns del " + prefix + n)
	}
}

// once measures one of the two ways, after the tunnel has moved to it.
func (b *bench) once(relayed bool) (mbits float64, err error) {
	for i, n := range ends {
		to := ends[1-i].under + ":" + wgPort
		if relayed {
			to = "127.0.0.1:" + n.port
		}
		if err := point(filepath.Join(b.dir, n.name+".sock"), ends[1-i].name, to); err != nil {
			return 0, err
		}
	}
	if out, err := exec.Command("ip", "netns", "exec", ends[0].space(), "ping", "-c", "3", "-i", "0.2", "-w", "20", ends[1].inner).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("ping through the tunnel (relayed %v): %w\n%s", relayed, err, out)
	}
	return b.iperf()
}

// iperf is TCP from a to b, in Mbit/s as b has it.
func (b *bench) iperf() (float64, error) {
	srv := exec.Command("ip", "netns", "exec", ends[1].space(), "iperf3", "-s", "-1", "-B", ends[1].inner)
	if err := srv.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = srv.Process.Kill(); _ = srv.Wait() }()
	var out []byte
	var err error
	for range 50 { // until it listens
		out, err = exec.Command("ip", "netns", "exec", ends[0].space(), "iperf3", "-c", ends[1].inner, "-t", fmt.Sprint(b.seconds), "-O", "1", "-P", fmt.Sprint(b.streams), "-f", "m").Output()
		if err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return 0, fmt.Errorf("iperf3: %w\n%s", err, out)
	}
	best := -1.0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if i := slices.Index(f, "Mbits/sec"); i > 0 && strings.Contains(line, "receiver") {
			var v float64
			if _, err := fmt.Sscan(f[i-1], &v); err == nil {
				best = max(best, v) // the sum, where there are several
			}
		}
	}
	if best < 0 {
		return 0, fmt.Errorf("iperf3 says no rate:\n%s", out)
	}
	return best, nil
}

func ip(words string) error {
	out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", words, err, out)
	}
	return nil
}
