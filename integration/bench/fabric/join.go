package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// node is what `weft get nodes -o json` says that the measurements need.
type node struct {
	Metadata struct{ Name string }
	Status   struct {
		State string
		Lease []string
	}
}

func nodes(ctx context.Context, f *lab.Fabric) ([]node, error) {
	out, err := f.Weft(ctx, "get", "nodes", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct{ Items []node }
	return list.Items, json.Unmarshal([]byte(out), &list)
}

// fabrics of every peer but the one named.
func fabrics(ns []node, but string) ([]string, error) {
	var out []string
	for _, n := range ns {
		if n.Metadata.Name == but {
			continue
		}
		for _, l := range n.Status.Lease {
			p, err := netip.ParsePrefix(l)
			if err != nil {
				return nil, err
			}
			out = append(out, p.Addr().String())
		}
	}
	return out, nil
}

// start starts agents, some at a time, and returns when all are in step.
func start(ctx context.Context, f *lab.Fabric, hosts []*lab.Host, atOnce int) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	errs := make([]error, len(hosts))
	for i, h := range hosts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			p, err := f.Agent(h)
			if err == nil {
				err = p.Ready(ctx)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// join: the time from the start of one more agent until it exchanges packets
// with all others, at 2 and at 100 nodes.
func join(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	restore, err := roomForNeighbours()
	if err != nil {
		return err
	}
	defer restore()
	f, err := lab.NewFabric(ctx, b.bin, lab.Layout{Nodes: 100 + b.runs})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.StartServer(ctx); err != nil {
		return err
	}
	if err := f.StartAgent(ctx, f.Nodes[0]); err != nil {
		return err
	}
	var second, hundredth []float64
	for i := range b.runs { // the 2nd to the 6th of a small fabric: n grows by a handful
		ms, err := joinOne(ctx, b, f, f.Nodes[1+i])
		if err != nil {
			return err
		}
		second = append(second, ms)
	}
	if err := start(ctx, f, f.Nodes[1+b.runs:99], 4); err != nil {
		return err
	}
	for i := range b.runs {
		ms, err := joinOne(ctx, b, f, f.Nodes[99+i])
		if err != nil {
			return err
		}
		hundredth = append(hundredth, ms)
	}
	fmt.Printf("   2nd node,   ms from exec to packets with all: %s\n", spread(second))
	fmt.Printf("   100th node, ms from exec to packets with all: %s\n", spread(hundredth))
	return nil
}

// roomForNeighbours raises the bounds of the kernel's neighbour tables, which all
// namespaces of a machine share: 100 nodes on one have 10,000 entries where the
// default is 1024 (arp(7), gc_thresh3).
func roomForNeighbours() (restore func(), err error) {
	old := map[string][]byte{}
	restore = func() {
		for path, value := range old {
			_ = os.WriteFile(path, value, 0o644)
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		for _, bound := range []string{"3", "2", "1"} { // each at least as large as the next
			path := "/proc/sys/net/" + family + "/neigh/default/gc_thresh" + bound
			value, err := os.ReadFile(path)
			if err == nil {
				old[path] = value
				err = os.WriteFile(path, []byte("65536"), 0o644)
			}
			if err != nil {
				restore()
				return nil, err
			}
		}
	}
	return restore, nil
}

func joinOne(ctx context.Context, b *bench, f *lab.Fabric, h *lab.Host) (float64, error) {
	ns, err := nodes(ctx, f)
	if err != nil {
		return 0, err
	}
	peers, err := fabrics(ns, h.Name)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := f.Agent(h); err != nil {
		return 0, err
	}
	if _, err := h.Run(ctx, append([]string{b.self, "probe", "reach"}, peers...)...); err != nil {
		return 0, err
	}
	took := float64(time.Since(began).Microseconds()) / 1000
	return took, f.InStep(ctx, len(ns)+1)
}

// storm: 50 agents start at once on an empty cluster; all come up, no lease is
// given twice.
func storm(ctx context.Context, b *bench) error {
	const count = 50
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, err := lab.NewFabric(ctx, b.bin, lab.Layout{Nodes: count})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.StartServer(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := start(ctx, f, f.Nodes, count); err != nil {
		return err
	}
	if err := f.InStep(ctx, count); err != nil {
		return err
	}
	took := time.Since(began)
	ns, err := nodes(ctx, f)
	if err != nil {
		return err
	}
	owner := map[string]string{}
	for _, n := range ns {
		for _, l := range n.Status.Lease {
			if o, twice := owner[l]; twice {
				return fmt.Errorf("%s is leased to %s and %s", l, o, n.Metadata.Name)
			}
			owner[l] = n.Metadata.Name
		}
	}
	fmt.Printf("   %d agents at once: all in step after %v, %d prefixes, none twice\n", len(ns), took.Round(time.Millisecond), len(owner))
	return nil
}

// pair is a fabric of two nodes with a pod each.
func pair(ctx context.Context, b *bench, layout lab.Layout, args ...string) (*lab.Fabric, *lab.Pod, *lab.Pod, error) {
	layout.Nodes = max(layout.Nodes, 2)
	f, err := lab.NewFabric(ctx, b.bin, layout)
	if err != nil {
		return nil, nil, nil, err
	}
	pods, err := func() (pods []*lab.Pod, err error) {
		if err := f.StartServer(ctx, args...); err != nil {
			return nil, err
		}
		if err := start(ctx, f, f.Nodes, 4); err != nil {
			return nil, err
		}
		if err := f.InStep(ctx, layout.Nodes); err != nil {
			return nil, err
		}
		for _, n := range f.Nodes[:2] {
			p, err := f.NewPod(ctx, n, "pod", nil)
			if err != nil {
				return nil, err
			}
			pods = append(pods, p)
		}
		_, err = pods[0].Run(ctx, b.self, "probe", "reach", pods[1].Addrs[0].String())
		return pods, err
	}()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w\n%s", err, strings.Join([]string{f.ServerProcesses["s1"].Tail(5)}, "\n"))
	}
	return f, pods[0], pods[1], nil
}
