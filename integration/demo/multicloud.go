package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// multicloud shows nodes of three clouds. Site fra is n1, with an address of its own,
// and n2 behind a router that keeps ports; ams is n3, behind one that gives a port of
// chance to each destination; office is n4, from which nothing goes out but TCP.
type multicloud struct{ *demo }

// clouds are what stands before the nodes, in their order, and their sites.
var (
	clouds = []lab.NAT{lab.Public, lab.Preserving, lab.Symmetric, lab.TCPOnly}
	sites  = []string{"fra", "fra", "ams", "office"}
)

func (d *multicloud) show(ctx context.Context, _ string) error {
	fmt.Println("Three sites, each in its own cloud: fra (n1, public; n2, behind a router that keeps ports), ams (n3, behind a\n" +
		"symmetric NAT) and office (n4, from which only TCP to 443 and 7443 goes out). No two share a link.")
	for _, step := range []func(context.Context) error{d.start, d.ladder, d.killed, d.rotated, d.changed} {
		within, cancel := context.WithTimeout(ctx, 2*patience)
		err := step(within)
		cancel()
		if err != nil {
			return err
		}
	}
	return d.weft(ctx, "status")
}

func (d *multicloud) start(ctx context.Context) error {
	if err := d.StartServer(ctx, "--backend", "wireguard"); err != nil {
		return err
	}
	for i, n := range d.Nodes {
		if err := d.StartAgent(ctx, n, "--site", sites[i]); err != nil {
			return err
		}
	}
	if err := d.InStep(ctx, len(d.Nodes)); err != nil {
		return err
	}
	for _, n := range d.Nodes {
		p, err := d.NewPod(ctx, n, "web", nil)
		if err != nil {
			return err
		}
		d.pods = append(d.pods, p)
	}
	for _, from := range d.pods {
		for _, to := range d.pods {
			if err := d.reach(ctx, from, to); from != to && err != nil {
				return err
			}
		}
	}
	d.say("the pods of all %d nodes reach each other", len(d.Nodes))
	return nil
}

// reach waits until one pod has an answer of another.
func (d *multicloud) reach(ctx context.Context, from, to *lab.Pod) error {
	return lab.Until(ctx, from.Name+" reaches "+to.Name, func() (string, error) {
		return from.Run(ctx, "ping", "-c", "1", "-W", "1", to.Addrs[0].String())
	})
}

// ladder shows each pair's rung and the reason, once the pairs have climbed.
func (d *multicloud) ladder(ctx context.Context) error {
	for _, pair := range [][3]string{{"n1", "n2", "WIREGUARD to"}, {"n1", "n3", "WIREGUARD to"}, {"n2", "n3", "RELAYED"}, {"n1", "n4", "RELAYED"}} {
		if err := d.stands(ctx, pair[0], pair[1], pair[2]); err != nil {
			return err
		}
	}
	d.say("every pair has climbed as high as its routers let it")
	if err := errors.Join(d.weft(ctx, "get", "nodes", "-o", "wide"), d.weft(ctx, "mesh")); err != nil {
		return err
	}
	for i, a := range d.Nodes {
		for _, b := range d.Nodes[i+1:] {
			if err := d.weft(ctx, "mesh", "explain", a.Name, b.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// stands waits until both nodes of a pair send by a rung.
func (d *multicloud) stands(ctx context.Context, a, b, rung string) error {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		err := lab.Until(ctx, pair[0]+" -> "+pair[1]+" "+rung, func() (string, error) {
			out, err := d.Weft(ctx, "mesh", "explain", pair[0], pair[1])
			if first, _, _ := strings.Cut(out, "\n"); err == nil && !strings.Contains(first, rung) {
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

// killed loses all UDP between n1 and n2, and lets it through again.
func (d *multicloud) killed(ctx context.Context) error {
	n1, n2 := d.Nodes[0], d.Nodes[1]
	flow, err := lab.StartFlow(d.pods[0].Host, d.pods[1].Addrs[0], 10*time.Millisecond)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Lose(ctx, n1, n2, 100, "meta l4proto udp"), d.Lose(ctx, n2, n1, 100, "meta l4proto udp")); err != nil {
		return err
	}
	d.say("all UDP between n1 and n2 is lost, under a ping each 10 ms")
	if err := errors.Join(d.stands(ctx, "n1", "n2", "RELAYED"), d.weft(ctx, "mesh", "explain", "n1", "n2")); err != nil {
		return err
	}
	c, err := flow.Stop(ctx)
	if err != nil {
		return err
	}
	if err := d.reach(ctx, d.pods[0], d.pods[1]); err != nil {
		return err
	}
	d.say("traffic went on over the server's relay: %d of %d pings lost, longest silence %v", c.Missing(), c.Sent, c.Longest.Round(time.Millisecond))
	return d.lossless(ctx, "n1 and n2 are back on their direct path", []int{0, 1}, func() error {
		return errors.Join(d.Pass(ctx, n1, n2), d.Pass(ctx, n2, n1), d.stands(ctx, "n1", "n2", "WIREGUARD to"))
	})
}

// lossless does something under a ping each way between two pods, and wants none lost.
func (d *multicloud) lossless(ctx context.Context, what string, pods []int, do func() error) error {
	var flows []*lab.Flow
	for _, way := range [][2]int{{pods[0], pods[1]}, {pods[1], pods[0]}} {
		f, err := lab.StartFlow(d.pods[way[0]].Host, d.pods[way[1]].Addrs[0], 10*time.Millisecond)
		if err != nil {
			return err
		}
		flows = append(flows, f)
	}
	if err := do(); err != nil {
		return err
	}
	sent := 0
	for _, f := range flows {
		c, err := f.Stop(ctx)
		if err != nil {
			return err
		}
		if c.Missing() > 0 {
			return fmt.Errorf("%s: %v", what, c)
		}
		sent += c.Sent
	}
	d.say("%s: 0 of %d pings lost", what, sent)
	return nil
}

// rotated changes the key of n1.
func (d *multicloud) rotated(ctx context.Context) error {
	n1 := d.Nodes[0]
	old, err := n1.Run(ctx, "wg", "show", "weft-wg0", "public-key")
	if err != nil {
		return err
	}
	d.say("n1 changes its WireGuard key, %s", strings.TrimSpace(old))
	return d.lossless(ctx, "n1 has a new key, and nobody has the old one", []int{0, 2}, func() error {
		if err := d.weft(ctx, "rotate", "keys", "n1"); err != nil {
			return err
		}
		for _, n := range d.Nodes {
			err := lab.Until(ctx, "the old key of n1 is gone on "+n.Name, func() (string, error) {
				out, err := n.Run(ctx, "sh", "-c", "wg show all public-key; wg show all peers")
				if err == nil && slices.Contains(strings.Fields(out), strings.TrimSpace(old)) {
					err = lab.ErrNotYet
				}
				return out, err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// changed goes from WireGuard for all to the best way that encryption permits.
func (d *multicloud) changed(ctx context.Context) error {
	d.say("the backend changes from wireguard to auto, under a ping")
	return d.lossless(ctx, "all pairs have changed their backend", []int{0, 1}, func() error {
		cmd := d.Server.Command(ctx, "weft", "--config", d.ServerDir()+"/admin.yaml", "apply", "-f", "-")
		cmd.Stdin = strings.NewReader("apiVersion: weft/v1\nkind: ClusterConfig\nmetadata: {name: default}\nspec: {backend: auto}\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return lab.Until(ctx, "the backend has changed", func() (string, error) {
			out, err := d.Weft(ctx, "events", "--for", "clusterconfig/default")
			if err == nil && !strings.Contains(out, "CarrierLeft") {
				err = lab.ErrNotYet
			}
			return out, err
		})
	})
}
