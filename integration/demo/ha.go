package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// patience bounds one step of a scene.
const patience = 2 * time.Minute

// ha shows what nodes do not notice: an upgrade, a leader that dies, a quorum that
// is lost, a restore. A ping runs between the pods all the while.
type ha struct {
	*demo
	flows []*lab.Flow
}

func (d *ha) show(ctx context.Context, backend string) error {
	fmt.Println("Three control servers and five nodes, each in a network namespace, on one switch; a ring of pings between the pods all the while.")
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return d.before(ctx, backend) },
		d.start, d.upgrade, d.cluster, d.leader, d.quorum, d.restore,
	} {
		within, cancel := context.WithTimeout(ctx, patience)
		err := step(within)
		cancel()
		if err != nil {
			return err
		}
	}
	return d.count(ctx)
}

// before is the previous release: one server, five nodes, a pod each.
func (d *ha) before(ctx context.Context, backend string) error {
	if err := d.Use(lab.OldRelease); err != nil {
		return err
	}
	if err := d.StartServer(ctx, "--backend", backend); err != nil {
		return err
	}
	for _, n := range d.Nodes {
		if err := d.StartAgent(ctx, n); err != nil {
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
	d.say("the previous release: one server, five nodes, a pod on each")
	return d.weft(ctx, "get", "nodes", "-o", "wide")
}

// start pings from every pod the next one, in both families, 100 a second.
func (d *ha) start(ctx context.Context) error {
	for i, from := range d.pods {
		to := d.pods[(i+1)%len(d.pods)]
		for _, a := range to.Addrs {
			if _, err := from.Run(ctx, "ping", "-c", "1", "-W", "5", a.String()); err != nil {
				return err
			}
			f, err := lab.StartFlow(from.Host, a, 10*time.Millisecond)
			if err != nil {
				return err
			}
			d.flows = append(d.flows, f)
		}
	}
	d.say("%d pings run, 100 packets a second each", len(d.flows))
	return nil
}

// upgrade takes the server to this release, then the agents.
func (d *ha) upgrade(ctx context.Context) error {
	if err := d.Use(lab.ThisRelease); err != nil {
		return err
	}
	if err := d.restart(ctx, d.Server); err != nil {
		return err
	}
	d.say("s1 upgraded, with --cluster-init: its etcd may have members now")
	for _, n := range d.Nodes {
		if err := d.Agents[n.Name].Stop(patience); err != nil {
			return err
		}
		if err := d.StartAgent(ctx, n); err != nil {
			return err
		}
	}
	if err := d.InStep(ctx, len(d.Nodes)); err != nil {
		return err
	}
	d.say("the agents upgraded, one after the other; all hold the newest revision")
	return d.weft(ctx, "get", "nodes", "-o", "wide")
}

// restart stops a server in good order and starts it.
func (d *ha) restart(ctx context.Context, h *lab.Host) error {
	if err := d.ServerProcesses[h.Name].Stop(patience); err != nil {
		return err
	}
	return d.StartServerOn(ctx, h)
}

// cluster lets two more servers join.
func (d *ha) cluster(ctx context.Context) error {
	for _, h := range d.Servers[1:] {
		if err := d.StartServerOn(ctx, h); err != nil {
			return err
		}
		d.say("%s joined: weft-server --server https://s1:7443 --token-file server-token", h.Name)
	}
	return d.weft(ctx, "server", "list")
}

// leader kills the server that leads.
func (d *ha) leader(ctx context.Context) error {
	led, err := d.Leader(ctx)
	if err != nil {
		return err
	}
	d.ServerProcesses[led.Name].Kill()
	killed := time.Now()
	d.say("kill -9 of %s, which led", led.Name)
	next, err := d.led(ctx, led)
	if err != nil {
		return err
	}
	if err := d.InStep(ctx, len(d.Nodes)); err != nil {
		return err
	}
	d.say("%s leads, and all nodes are in step, %v later", next.Name, time.Since(killed).Round(10*time.Millisecond))
	if err := d.weft(ctx, "server", "list"); err != nil {
		return err
	}
	return d.StartServerOn(ctx, led)
}

// led waits until another server leads.
func (d *ha) led(ctx context.Context, not *lab.Host) (leads *lab.Host, err error) {
	return leads, lab.Until(ctx, "another leader", func() (string, error) {
		leads, err = d.Leader(ctx)
		if err == nil && leads == not {
			err = lab.ErrNotYet
		}
		return "", err
	})
}

// quorum kills two of three servers while pods come and go.
func (d *ha) quorum(ctx context.Context) error {
	lost := d.Servers[1:]
	for _, h := range lost {
		d.ServerProcesses[h.Name].Kill()
	}
	p, err := d.NewPod(ctx, d.Nodes[0], "meanwhile", nil)
	if err != nil {
		return err
	}
	to := d.pods[len(d.pods)-1].Addrs[0]
	if _, err := p.Run(ctx, "ping", "-c", "20", "-i", "0.1", to.String()); err != nil {
		return err
	}
	d.say("kill -9 of %s and %s: no quorum; a new pod on n1 reaches one on n5 all the same", lost[0].Name, lost[1].Name)
	for _, h := range lost {
		if _, err := d.LaunchServer(h); err != nil {
			return err
		}
	}
	back := time.Now()
	for _, h := range lost {
		if err := d.ServerProcesses[h.Name].Ready(ctx); err != nil {
			return err
		}
	}
	if err := d.InStep(ctx, len(d.Nodes)); err != nil {
		return err
	}
	d.say("both started again; all nodes in step %v later", time.Since(back).Round(10*time.Millisecond))
	return nil
}

// restore saves, changes something, and goes back.
func (d *ha) restore(ctx context.Context) error {
	if err := d.weft(ctx, "backup", "save"); err != nil {
		return err
	}
	saved, err := d.Weft(ctx, "backup", "ls", "-o", "name") // the youngest first
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(saved, "backup/"), "\n")
	if err := d.weft(ctx, "label", "node", "n5", "mistake=true"); err != nil {
		return err
	}
	for _, more := range [][]string{{"--dry-run"}, nil} {
		if err := d.weft(ctx, append([]string{"backup", "restore", name}, more...)...); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := d.InStep(ctx, len(d.Nodes)); err != nil {
		return err
	}
	d.say("restored: a new epoch, all nodes in step after %v", time.Since(began).Round(10*time.Millisecond))
	return d.weft(ctx, "status")
}

// count ends the pings. A packet that was lost is an error.
func (d *ha) count(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var sent, lost int
	for _, f := range d.flows {
		c, err := f.Stop(within)
		if err != nil {
			return err
		}
		if c.Missing() > 0 {
			d.say("%v", c)
		}
		sent, lost = sent+c.Sent, lost+c.Missing()
	}
	d.say("%d packets sent between the pods, %d lost", sent, lost)
	if lost > 0 {
		return fmt.Errorf("%d of %d packets lost", lost, sent)
	}
	return nil
}
