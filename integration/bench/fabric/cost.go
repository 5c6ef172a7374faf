package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// ticks is the kernel's clock for /proc/stat, 100 a second on every Linux
// of today (proc(5), sysconf(3)).
const ticks = 100

// usage is CPU time in seconds and resident memory in MB of a process. Time is
// the scheduler's own, to the nanosecond: an idle agent runs in bursts that the
// clock of /proc/<pid>/stat is too coarse for (Documentation/scheduler/sched-stats.rst).
func usage(pid int) (cpu, rss float64, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, 0, err
	}
	for _, t := range threads {
		b, err := os.ReadFile(t)
		if err != nil {
			return 0, 0, err
		}
		ns, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
		if err != nil {
			return 0, 0, err
		}
		cpu += ns / 1e9
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, 0, err
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(b))[1], 64)
	return cpu, pages * float64(os.Getpagesize()) / 1e6, err
}

// idle: CPU and memory of an agent with 10 peers and 10 pods when nothing happens.
func idle(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, _, _, err := pair(ctx, b, lab.Layout{Nodes: 10})
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range 9 {
		if _, err := f.NewPod(ctx, f.Nodes[0], fmt.Sprintf("idle%d", i), nil); err != nil {
			return err
		}
	}
	pause(ctx, 5*time.Second)
	const window = 60 * time.Second
	var before []float64
	for _, n := range f.Nodes {
		cpu, _, err := usage(f.Agents[n.Name].Pid())
		if err != nil {
			return err
		}
		before = append(before, cpu)
	}
	pause(ctx, window)
	var share, memory []float64
	for i, n := range f.Nodes {
		cpu, rss, err := usage(f.Agents[n.Name].Pid())
		if err != nil {
			return err
		}
		share = append(share, 100*(cpu-before[i])/window.Seconds())
		memory = append(memory, rss)
	}
	cpu, rss, err := usage(f.ServerProcesses["s1"].Pid())
	if err != nil {
		return err
	}
	fmt.Printf("   agent, %% of a core over %v: %s\n", window, spread(share))
	fmt.Printf("   agent, RSS in MB:            %s\n", spread(memory))
	fmt.Printf("   server, RSS in MB: %.0f, CPU s since its start: %.1f\n", rss, cpu)
	return nil
}

// busy is the CPU time in seconds that all cores spent on anything but idling.
func busy() (float64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	f := strings.Fields(strings.SplitN(string(b), "\n", 2)[0])
	var total float64
	for i, s := range f[1:9] {
		v, _ := strconv.ParseFloat(s, 64)
		if i != 3 && i != 4 && i != 7 { // idle, iowait, steal
			total += v
		}
	}
	return total / ticks, nil
}

// stream is TCP for some seconds: bit/s, and CPU seconds per GB of all cores.
func stream(ctx context.Context, from, to *lab.Host, addr netip.Addr, seconds int) (rate, cost float64, err error) {
	var spent float64
	bytes, rate, err := lab.Stream(ctx, from, to, addr, seconds, func(client func() error) error {
		before, err := busy()
		if err != nil {
			return err
		}
		if err := client(); err != nil {
			return err
		}
		after, err := busy()
		spent = after - before
		return err
	})
	return rate, spent / (bytes / 1e9), err
}

// ways is what one stream is measured over: weft's pods, Flannel's pods, and the
// bare wire.
type ways struct {
	name     string
	from, to *lab.Host
	addr     netip.Addr

	rate, cost []float64
}

// throughput: TCP between pods as a share of the bare wire, and Flannel's,
// interleaved in one run.
func throughput(ctx context.Context, b *bench) error {
	for _, backend := range []string{"vxlan", "host-gw"} {
		if err := throughputOver(ctx, b, backend); err != nil {
			return err
		}
	}
	return nil
}

func throughputOver(ctx context.Context, b *bench, backend string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	f, from, to, err := pair(ctx, b, lab.Layout{}, "--backend", backend)
	if err != nil {
		return err
	}
	defer f.Close()
	fl, pods, flTo, err := flannelPair(ctx, b, backend)
	if err != nil {
		return err
	}
	defer fl.Close()
	wire := &ways{name: "wire", from: f.Nodes[0], to: f.Nodes[1], addr: netip.MustParseAddr(f.NodeIPs(f.Nodes[1])[0])}
	all := []*ways{
		wire,
		{name: "weft", from: from.Host, to: to.Host, addr: to.Addrs[0]},
		{name: "flannel", from: pods[0], to: pods[1], addr: flTo},
	}
	for range b.runs {
		for _, w := range all {
			rate, cost, err := stream(ctx, w.from, w.to, w.addr, 3)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.rate, w.cost = append(w.rate, rate/1e9), append(w.cost, cost)
		}
	}
	for _, w := range all {
		fmt.Printf("   %-8s %-8s Gbit/s: %s\n", backend, w.name, spread(w.rate))
		if w != wire {
			fmt.Printf("   %-8s %-8s share of the wire: %s\n", backend, w.name, spread(ratios(w.rate, wire.rate)))
			fmt.Printf("   %-8s %-8s CPU per GB, times the wire's: %s\n", backend, w.name, spread(ratios(w.cost, wire.cost)))
		}
	}
	return nil
}

func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}
