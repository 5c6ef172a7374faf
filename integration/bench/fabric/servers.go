package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// stopWithin bounds how long a process may take to end by itself.
const stopWithin = 30 * time.Second

// trio is a fabric of three servers and three nodes, the first two with a pod.
func trio(ctx context.Context, b *bench, store string) (*lab.Fabric, *lab.Pod, *lab.Pod, error) {
	f, from, to, err := pair(ctx, b, lab.Layout{Nodes: 3, Servers: 3, Store: store})
	if err != nil {
		return nil, nil, nil, err
	}
	for _, h := range f.Servers[1:] {
		if err := f.StartServerOn(ctx, h); err != nil {
			return nil, nil, nil, errors.Join(err, f.Close())
		}
	}
	return f, from, to, nil
}

// quorum: servers die while a probe runs, and what had to wait for them.
func quorum(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	f, from, to, err := trio(ctx, b, lab.StoreEmbedded)
	if err != nil {
		return err
	}
	defer f.Close()
	var took time.Duration
	for _, c := range []struct {
		name string
		do   func() error
		took string // what took is of
	}{
		{"one of three servers killed, restarted", func() error { took, err = follower(ctx, f); return err }, "a change on all nodes after the kill"},
		{"the leader killed, restarted", func() error { took, err = leader(ctx, f); return err }, "another leads, and a change is on all nodes"},
		{"quorum lost for 60 s, pods come and go", func() error { took, err = minute(ctx, f); return err }, "a new node in step after the first of two servers is started"},
	} {
		g, err := watch(ctx, from.Host, to.Addrs[0], func() error {
			pause(ctx, 200*time.Millisecond)
			err := c.do()
			pause(ctx, time.Second)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("   %-42s %v (one a ms); %v: %s\n", c.name, g, took.Round(10*time.Millisecond), c.took)
	}
	return nil
}

// follower kills a server that does not lead, and starts it again.
func follower(ctx context.Context, f *lab.Fabric) (time.Duration, error) {
	led, err := f.Leader(ctx)
	if err != nil {
		return 0, err
	}
	h := f.Servers[0]
	if h == led {
		h = f.Servers[1]
	}
	f.ServerProcesses[h.Name].Kill()
	began := time.Now()
	err = written(ctx, f)
	return time.Since(began), errors.Join(err, f.StartServerOn(ctx, h))
}

// written returns when a change has been taken, and all nodes have applied it.
func written(ctx context.Context, f *lab.Fabric) error {
	err := lab.Until(ctx, "a change is taken", func() (string, error) {
		return f.Weft(ctx, "label", "node", "n1", fmt.Sprintf("at=t%d", time.Now().UnixNano()), "--overwrite")
	})
	return errors.Join(err, f.InStep(ctx, 3))
}

// leader kills the server that leads, and starts it again.
func leader(ctx context.Context, f *lab.Fabric) (time.Duration, error) {
	led, err := f.Leader(ctx)
	if err != nil {
		return 0, err
	}
	f.ServerProcesses[led.Name].Kill()
	began := time.Now()
	err = lab.Until(ctx, "another leader", func() (string, error) {
		h, err := f.Leader(ctx)
		if err == nil && h == led {
			err = lab.ErrNotYet
		}
		return "", err
	})
	err = errors.Join(err, written(ctx, f))
	return time.Since(began), errors.Join(err, f.StartServerOn(ctx, led))
}

// minute kills two of three servers for a minute. n3, which was deleted before,
// wants to join as a new node all the while.
func minute(ctx context.Context, f *lab.Fabric) (time.Duration, error) {
	n3, lost := f.Nodes[2], f.Servers[1:]
	if err := f.Agents[n3.Name].Stop(stopWithin); err != nil {
		return 0, err
	}
	if _, err := f.Weft(ctx, "delete", "node", n3.Name); err != nil {
		return 0, err
	}
	if err := os.RemoveAll(filepath.Join(n3.Dir(), "data")); err != nil {
		return 0, err
	}
	for _, h := range lost {
		f.ServerProcesses[h.Name].Kill()
	}
	joins, err := f.Agent(n3)
	if err != nil {
		return 0, err
	}
	for i := range 6 {
		p, err := f.NewPod(ctx, f.Nodes[0], fmt.Sprintf("extra%d", i), nil)
		if err != nil {
			return 0, err
		}
		pause(ctx, 10*time.Second)
		if err := p.Del(ctx); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	for _, h := range lost {
		if _, err := f.LaunchServer(h); err != nil {
			return 0, err
		}
	}
	err = errors.Join(joins.Ready(ctx), f.InStep(ctx, 3))
	return time.Since(began), err
}

// restore: a backup is brought back under a probe, with a node that is younger.
func restore(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, from, to, err := trio(ctx, b, lab.StoreEmbedded)
	if err != nil {
		return err
	}
	defer f.Close()
	var took time.Duration
	g, err := watch(ctx, from.Host, to.Addrs[0], func() error {
		if _, err := f.Weft(ctx, "backup", "save"); err != nil {
			return err
		}
		saved, err := f.Weft(ctx, "backup", "ls", "-o", "name") // the youngest first
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(saved, "\n")
		if _, err := f.Weft(ctx, "label", "node", "n3", "young=true"); err != nil {
			return err
		}
		began := time.Now()
		if out, err := f.Weft(ctx, "backup", "restore", name); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		err = f.InStep(ctx, 3)
		took = time.Since(began)
		pause(ctx, 3*time.Second)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("   a backup restored: %v (one a ms); %v: all nodes in step in the new epoch\n", g, took.Round(10*time.Millisecond))
	return nil
}

// upgrade: from the previous release to this one, and back.
func upgrade(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, from, to, err := pair(ctx, b, lab.Layout{Release: lab.OldRelease})
	if err != nil {
		return err
	}
	defer f.Close()
	server := func() error {
		return errors.Join(f.ServerProcesses["s1"].Stop(stopWithin), f.StartServer(ctx), f.InStep(ctx, 2))
	}
	agents := func() error {
		for _, n := range f.Nodes {
			if err := errors.Join(f.Agents[n.Name].Stop(stopWithin), f.StartAgent(ctx, n), f.InStep(ctx, 2)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, c := range []struct {
		name, release string
		steps         []func() error
	}{
		{"upgraded from the previous release, server first", lab.ThisRelease, []func() error{server, agents}},
		{"rolled back to it, agents first", lab.OldRelease, []func() error{agents, server}},
	} {
		g, err := watch(ctx, from.Host, to.Addrs[0], func() error {
			if err := f.Use(c.release); err != nil {
				return err
			}
			for _, step := range c.steps {
				if err := step(); err != nil {
					return err
				}
			}
			pause(ctx, 3*time.Second)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("   %-50s %v (one a ms)\n", c.name, g)
	}
	return nil
}
