package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// rotated changes the key of a node whose peer's agent is stopped meanwhile.
func rotated(ctx context.Context, f *fabric) error {
	n1, n2 := f.Nodes[0], f.Nodes[1]
	old, err := n1.Run(ctx, "sh", "-c", "wg show all public-key")
	if err != nil {
		return err
	}
	agent := f.Agents[n2.Name]
	if err := agent.Pause(); err != nil {
		return err
	}
	_, err = f.Weft(ctx, "rotate", "keys", n1.Name)
	pause(ctx, skew)
	if err := errors.Join(err, agent.Resume()); err != nil {
		return err
	}
	key := strings.Fields(old)[1]
	return lab.Until(ctx, "the old key of n1 is gone", func() (string, error) {
		var all strings.Builder
		for _, n := range []*lab.Host{n1, n2} {
			out, err := n.Run(ctx, "sh", "-c", "wg show all public-key; wg show all peers")
			if err != nil {
				return out, err
			}
			all.WriteString(out)
		}
		if strings.Contains(all.String(), key) {
			return all.String(), lab.ErrNotYet
		}
		return "", nil
	})
}

// preshared has all pairs agree on pre-shared keys.
func preshared(ctx context.Context, f *fabric) error {
	if err := f.config(ctx, "postQuantum: true"); err != nil {
		return err
	}
	return f.confirmed(ctx, 0, 1, "")
}

// settled waits until no node changes its keys any more: each has one device.
func settled(ctx context.Context, f *fabric) error {
	for _, n := range f.Nodes {
		err := lab.Until(ctx, n.Name+" has one WireGuard device", func() (string, error) {
			out, err := n.Run(ctx, "wg", "show", "interfaces")
			if err == nil && len(strings.Fields(out)) != 1 {
				err = lab.ErrNotYet
			}
			return out, err
		})
		if err != nil {
			return err
		}
	}
	return f.InStep(ctx, len(f.Nodes))
}

// reshared changes the key of a node, and with it the pre-shared key of each of its pairs.
func reshared(ctx context.Context, f *fabric) error {
	ends, err := f.ends(ctx, f.Nodes[0].Name, f.Nodes[1].Name)
	if err != nil {
		return err
	}
	if err := rotated(ctx, f); err != nil {
		return err
	}
	return f.confirmed(ctx, 0, 1, ends[0].shared())
}

// rekeyedInPlace is what is done today: a device gets another key, and a second later
// its peer hears of it. There is a ping each way here too.
func rekeyedInPlace(ctx context.Context, b *bench) ([]lab.Count, error) {
	l, err := lab.New(ctx, b.bin)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	hosts, err := two(ctx, l)
	if err != nil {
		return nil, err
	}
	t, err := newTunnel(ctx, hosts, "bare0", 51820, "10.98.1", b.wireguardGo)
	if err != nil {
		return nil, err
	}
	var flows []*lab.Flow
	for i, h := range hosts {
		f, err := lab.StartFlow(h, t.inner[1-i], every)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		flows = append(flows, f)
	}
	pause(ctx, 5*time.Second)
	mine, theirs := t.ends[0], t.ends[1]
	old := mine.public()
	if err := mine.rekey(ctx); err != nil {
		return nil, err
	}
	pause(ctx, skew)
	if _, err := hosts[1].Run(ctx, "wg", "set", theirs.name, "peer", old, "remove"); err != nil {
		return nil, err
	}
	if err := theirs.peer(ctx, mine, "10.99.0.1:51820", "10.98.0.0/16"); err != nil {
		return nil, err
	}
	pause(ctx, 6*time.Second)
	var out []lab.Count
	for _, f := range flows {
		c, err := f.Stop(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
