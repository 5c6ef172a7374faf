package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// Ports of the services that are reached.
const (
	podPort  = 8080
	hostPort = 10250 // a kubelet's
)

// egress shows what reaches a node that accepts no connection: the tunnels that its
// agent holds to the servers. n1 stands on the switch, n2 behind a router that lets
// nothing in. A node runs beside server s1 as well, as in K3s.
type egress struct {
	*demo
	open, hidden *lab.Pod // of n1, of n2
}

func (d *egress) show(ctx context.Context, backend string) error {
	fmt.Println("Three control servers; node n1 beside them, node n2 behind a router that masquerades and lets nothing in; each in a network namespace.")
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return d.start(ctx, backend) },
		d.nothingGetsIn, d.modes, d.fronts, d.refused, d.policy, d.stalled, d.hop, d.killed,
	} {
		within, cancel := context.WithTimeout(ctx, patience)
		err := step(within)
		cancel()
		if err != nil {
			return err
		}
	}
	return d.weft(ctx, "status")
}

// start has servers, nodes, a pod on each node, and an HTTP service in each pod and
// at each kubelet's port.
func (d *egress) start(ctx context.Context, backend string) error {
	for _, h := range d.Servers {
		if err := d.StartServerOn(ctx, h, "--backend", backend, "--konnectivity-socket", filepath.Join(d.DataDir(h), "konnectivity.sock")); err != nil {
			return err
		}
	}
	for _, n := range d.Nodes {
		if err := d.StartAgent(ctx, n); err != nil {
			return err
		}
	}
	if err := d.StartAgent(ctx, d.Server, "--data-dir", filepath.Join(d.Server.Dir(), "agent")); err != nil {
		return err
	}
	if err := d.InStep(ctx, len(d.Nodes)+1); err != nil {
		return err
	}
	for i, pod := range []struct {
		name string
		is   **lab.Pod
	}{{"shop", &d.open}, {"web", &d.hidden}} {
		n := d.Nodes[i]
		p, err := d.NewPod(ctx, n, pod.name, nil)
		if err != nil {
			return err
		}
		*pod.is = p
		for _, at := range []struct {
			host *lab.Host
			addr netip.AddrPort
		}{{p.Host, d.page(p)}, {n, d.kubelet(n)}} {
			if _, err := lab.StartWeb(at.host, at.addr); err != nil {
				return err
			}
		}
	}
	d.say("three servers, nodes n1, n2 and s1; a pod with an HTTP service on n1 and on n2, another service at port %d of each", hostPort)
	return d.tunnels(ctx, 3*len(d.Servers))
}

// page is where a pod's service is.
func (d *egress) page(p *lab.Pod) netip.AddrPort { return netip.AddrPortFrom(p.Addrs[0], podPort) }

// kubelet is where a node's service is.
func (d *egress) kubelet(n *lab.Host) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(d.NodeIPs(n)[0]), hostPort)
}

// tunnels waits until there are so many, and shows them.
func (d *egress) tunnels(ctx context.Context, count int) error {
	err := lab.Until(ctx, fmt.Sprintf("%d tunnels", count), func() (string, error) {
		out, err := d.Weft(ctx, "get", "tunnels")
		if err == nil && strings.Count(out, "Ready") != count {
			err = lab.ErrNotYet
		}
		return out, err
	})
	if err != nil {
		return err
	}
	return d.weft(ctx, "get", "tunnels")
}

// nothingGetsIn shows what the tunnels are for.
func (d *egress) nothingGetsIn(ctx context.Context) error {
	for _, at := range []netip.AddrPort{d.page(d.hidden), d.kubelet(d.Nodes[1])} {
		out, err := d.Servers[1].Run(ctx, "curl", "-sS", "-m", "1", fmt.Sprintf("http://%v/", at))
		if err == nil {
			return fmt.Errorf("n2 is not hidden: %s", out)
		}
		fmt.Printf("\ns2$ curl -m 1 http://%v/\n%s", at, out)
	}
	return nil
}

// Modes, and what each reaches: of n1, which others reach, and of n2.
var modes = []struct {
	mode                                                  string
	kubeletOpen, kubeletHidden, podOpen, podHidden, named bool
}{
	{"disabled", true, false, true, false, true},
	{"agent", true, true, true, false, true},
	{"pod", true, true, true, true, true},
	{"cluster", true, true, true, true, true},
}

// modes goes through the values of egressSelectorMode, each with the same dials.
func (d *egress) modes(ctx context.Context) error {
	d.say("what a kube-apiserver beside s1 reaches in each mode (HTTP CONNECT on s1's socket)")
	fmt.Printf("\n%-9s %-20s %-22s %s\n", "MODE", "TARGET", "ADDRESS", "ANSWER")
	for _, m := range modes {
		if err := d.setMode(ctx, m.mode); err != nil {
			return err
		}
		front := d.SocketFront(d.Server)
		for _, t := range []struct {
			what    string
			front   lab.Front
			at      netip.AddrPort
			reached bool
		}{
			{"kubelet of n1", front, d.kubelet(d.Nodes[0]), m.kubeletOpen},
			{"kubelet of n2", front, d.kubelet(d.Nodes[1]), m.kubeletHidden},
			{"pod of n1", front, d.page(d.open), m.podOpen},
			{"pod of n2", front, d.page(d.hidden), m.podHidden},
			{"the same, naming n2", front.Via("n2"), d.page(d.hidden), m.named},
		} {
			if err := d.answer(ctx, m.mode, t.what, t.front, t.at, t.reached); err != nil {
				return err
			}
		}
	}
	return d.setMode(ctx, "pod")
}

// answer gets one page and prints a line about it. What is not reached is not for
// longer than a moment: a packet that is dropped answers nothing.
func (d *egress) answer(ctx context.Context, mode, what string, front lab.Front, at netip.AddrPort, reached bool) error {
	wait := patience
	if !reached {
		wait = time.Second
	}
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	page, err := front.Get(within, fmt.Sprintf("http://%v/", at))
	if (err == nil) != reached {
		return fmt.Errorf("mode %s, %s at %v: reached %v, %s%w", mode, what, at, err == nil, page, err)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		page = fmt.Sprintf("none within %v: packets to it are dropped", wait)
	case err != nil:
		page = strings.TrimPrefix(err.Error(), "lab: "+front.Name+": ")
	}
	fmt.Printf("%-9s %-20s %-22v %s\n", mode, what, at, strings.TrimSpace(page))
	return nil
}

// setMode changes the cluster's setting while everything runs, and returns when
// every server goes by it.
func (d *egress) setMode(ctx context.Context, mode string) error {
	out, err := d.apply(ctx, "apiVersion: weft/v1\nkind: ClusterConfig\nmetadata: {name: default}\nspec: {egressSelectorMode: "+mode+"}\n")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for _, h := range d.Servers {
		err := lab.Until(ctx, mode+" on "+h.Name, func() (string, error) {
			out, err := d.WeftOn(ctx, h, "get", "clusterconfig", "default", "-o", "jsonpath={.spec.egressSelectorMode}")
			if err == nil && strings.TrimSpace(out) != mode {
				err = lab.ErrNotYet
			}
			return out, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// apply writes a document on s1's machine and applies it.
func (d *egress) apply(ctx context.Context, document string) (string, error) {
	cmd := d.Server.Command(ctx, "weft", "--config", filepath.Join(d.DataDir(d.Server), "admin.yaml"), "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(document)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
