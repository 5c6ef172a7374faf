// Command cni compares what attaching a pod costs through weft (shim and agent)
// and through the CNI project's bridge, host-local and portmap, in one run, the
// two in turns.
//
// CPU time is that of all processes but the runtime's: the plugins with their
// children, and for weft the agent. Both get one IPv4 address and, where CPU is
// compared, one hostPort.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// What the project promises, as ratios to the other plugins and as CPU time.
const (
	wantCPU  = 0.4
	wantWall = 0.6
	wantShim = 5 * time.Millisecond
)

type options struct {
	bin    string
	cidrs  string
	rounds int
	pods   int
	burst  int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "../../bin", "folder of the built binaries")
	flag.StringVar(&o.cidrs, "cluster-cidr", "10.42.0.0/16", "of weft; with a second family weft does more than bridge")
	flag.IntVar(&o.rounds, "rounds", 9, "rounds of each measurement")
	flag.IntVar(&o.pods, "pods", 10, "pods added and deleted one after the other, a round")
	flag.IntVar(&o.burst, "burst", 32, "pods added at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "cni:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	f, err := lab.NewFabric(ctx, bin, lab.Layout{Nodes: 2, Under: "4", CIDRs: o.cidrs})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.StartServer(ctx); err != nil {
		return err
	}
	weft, err := newWeft(ctx, f, f.Nodes[0])
	if err != nil {
		return err
	}
	bridge, err := newBridge(ctx, f, f.Nodes[1])
	if err != nil {
		return err
	}
	var pods []*lab.Host
	for i := range max(o.pods, o.burst) {
		p, err := f.Namespace(ctx, fmt.Sprintf("p%d", i))
		if err != nil {
			return err
		}
		pods = append(pods, p)
	}
	fmt.Printf("%-46s %s\n", "", "minimum / median / maximum")
	if err := oneByOne(ctx, o, pods[:o.pods], weft, bridge); err != nil {
		return err
	}
	if err := atOnce(ctx, o, pods[:o.burst], weft, bridge); err != nil {
		return err
	}
	return shimAlone(ctx, o, weft)
}

// oneByOne compares CPU time of an ADD with its DEL, with a hostPort.
func oneByOne(ctx context.Context, o options, pods []*lab.Host, weft, bridge *plugin) error {
	var ours, theirs, shim, agent, ratio []float64
	for round := range o.rounds + 1 {
		w, err := weft.cost(ctx, pods)
		if err != nil {
			return err
		}
		b, err := bridge.cost(ctx, pods)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // caches are cold
		}
		ours, theirs = append(ours, ms(w.total())), append(theirs, ms(b.total()))
		shim, agent = append(shim, ms(w.children)), append(agent, ms(w.agent))
		ratio = append(ratio, float64(w.total())/float64(b.total()))
	}
	row("ADD+DEL, CPU ms: bridge+host-local+portmap", theirs, "")
	row("ADD+DEL, CPU ms: weft", ours, "")
	row("    of it the shim, twice", shim, "")
	row("    of it the agent", agent, "")
	row("    ratio", ratio, verdict(median(ratio) <= wantCPU, "at most %v", wantCPU))
	return nil
}

// atOnce compares the time until many ADDs at once have ended, without hostPorts.
func atOnce(ctx context.Context, o options, pods []*lab.Host, weft, bridge *plugin) error {
	var ours, theirs, ratio []float64
	for round := range o.rounds + 1 {
		w, err := weft.burst(ctx, pods)
		if err != nil {
			return err
		}
		b, err := bridge.burst(ctx, pods)
		if err != nil {
			return err
		}
		if round == 0 {
			continue
		}
		ours, theirs = append(ours, ms(w)), append(theirs, ms(b))
		ratio = append(ratio, float64(w)/float64(b))
	}
	row(fmt.Sprintf("%d ADDs at once, ms: bridge+host-local", len(pods)), theirs, "")
	row(fmt.Sprintf("%d ADDs at once, ms: weft", len(pods)), ours, "")
	row("    ratio", ratio, verdict(median(ratio) <= wantWall, "at most %v", wantWall))
	return nil
}

// shimAlone is the CPU time of one start of the shim that asks the agent.
func shimAlone(ctx context.Context, o options, weft *plugin) error {
	var cost []float64
	for range 20 * o.rounds {
		before := childrenCPU()
		if err := weft.cni.GetStatusNetworkList(ctx, weft.list); err != nil {
			return err
		}
		cost = append(cost, ms(childrenCPU()-before))
	}
	row("the shim alone (STATUS), CPU ms", cost, verdict(median(cost) <= ms(wantShim), "at most %v", ms(wantShim)))
	return nil
}
