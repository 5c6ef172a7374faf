package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// death is what takes a path away from under a pair of nodes.
type death struct {
	name string
	// die does it to a pair that stands as ready left it, and heal undoes it.
	ready, die, heal func(context.Context, *victim) error
}

// victim is the fabric, and who relays for the pair at the moment.
type victim struct {
	*fabric
	relay string // empty: nobody, they meet straight
	cut   bool   // their direct path
}

var backend = []string{"--backend", "wireguard"}

// deaths are measured side by side, each group on a fabric of its own.
var deaths = []struct {
	servers int
	of      []death
}{
	{1, []death{{"direct path dies", straightAgain, cutBoth, passBoth}, {"node relay dies", overNode, cutRelay, mendRelay}}},
	{3, []death{{"relay's server killed", overServer, killServer, restartServer}, {"its wire cut", overServer, cutRelay, mendRelay}}},
}

// fallback: for how long a ping between two pods gets no answer when the path between
// their nodes dies and they meet by another.
func fallback(ctx context.Context, b *bench) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	measured, errs := make([]string, len(deaths)), make([]error, len(deaths))
	for i, group := range deaths {
		all.Go(func() { measured[i], errs[i] = die(ctx, b, group.servers, group.of) })
	}
	all.Wait()
	return line{"a path dies: longest silence of a 10 ms ping until traffic flows by another", "hours (NetBird's hourly retry), 5–15 min (Kilo)", strings.Join(measured, "; ")}, errors.Join(errs...)
}

// die has a pair on a fabric of its own suffer some deaths.
func die(ctx context.Context, b *bench, servers int, of []death) (string, error) {
	f, err := b.start(ctx, lab.Layout{Nodes: 3, Servers: servers}, backend)
	if err != nil {
		return "", err
	}
	defer f.Close()
	v := &victim{fabric: f}
	var measured []string
	for _, d := range of {
		var silent []float64
		for range b.times(5) {
			c, err := v.suffer(ctx, d)
			if err != nil {
				return "", fmt.Errorf("%s: %w", d.name, err)
			}
			say("%s: %v, silent for %v", d.name, c, c.Longest.Round(time.Millisecond))
			silent = append(silent, ms(c.Longest))
		}
		measured = append(measured, fmt.Sprintf("%s: **%s**", d.name, spread(silent, 0, " ms")))
	}
	return strings.Join(measured, "; "), nil
}

// suffer has the pair's path die once, under a ping, and undoes it. That it was the
// path in use is what the pair says: by it right before, and by it no more afterwards. A
// packet need not be lost for that: of a server that is killed its agents hear at once.
func (v *victim) suffer(ctx context.Context, d death) (lab.Count, error) {
	if err := d.ready(ctx, v); err != nil {
		return lab.Count{}, err
	}
	flow, err := lab.StartFlow(v.pods[0].Host, v.pods[1].Addrs[0], every)
	if err != nil {
		return lab.Count{}, err
	}
	defer flow.Close()
	pause(ctx, 500*time.Millisecond)
	if err := d.ready(ctx, v); err != nil { // it may have moved meanwhile
		return lab.Count{}, err
	}
	if err := d.die(ctx, v); err != nil {
		return lab.Count{}, err
	}
	pause(ctx, 100*time.Millisecond) // what was on its way is answered
	err = errors.Join(v.reach(ctx, 0, 1), v.leave(ctx))
	c, stopped := flow.Stop(ctx)
	return c, errors.Join(err, stopped, d.heal(ctx, v))
}

// leave waits until neither node of the pair sends by what has died.
func (v *victim) leave(ctx context.Context) error {
	return v.stands(ctx, 0, 1, fmt.Sprintf("not over %q any more", v.relay), func(s standing) bool { return s.Via != v.relay })
}

func straightAgain(ctx context.Context, v *victim) error {
	v.relay = ""
	return v.straight(ctx, 0, 1)
}

func cutBoth(ctx context.Context, v *victim) error {
	n1, n2 := v.Nodes[0], v.Nodes[1]
	return errors.Join(v.Lose(ctx, n1, n2, 100, "meta l4proto udp"), v.Lose(ctx, n2, n1, 100, "meta l4proto udp"))
}

func passBoth(ctx context.Context, v *victim) error {
	n1, n2 := v.Nodes[0], v.Nodes[1]
	return errors.Join(v.Pass(ctx, n1, n2), v.Pass(ctx, n2, n1))
}

// overServer has the pair meet over a server.
func overServer(ctx context.Context, v *victim) error { return v.over(ctx, "s") }

// overNode has the pair meet over the third node.
func overNode(ctx context.Context, v *victim) error {
	if _, err := v.Weft(ctx, "label", "node", v.Nodes[2].Name, "weft/relay=true", "--overwrite"); err != nil {
		return err
	}
	return v.over(ctx, v.Nodes[2].Name)
}

// over cuts the direct path, unless that is done, and waits until both nodes send over
// a relay whose name begins so; of two, the first node's, which carries what the ping
// asks, is the one to die.
func (v *victim) over(ctx context.Context, kind string) error {
	if !v.cut {
		if err := cutBoth(ctx, v); err != nil {
			return err
		}
		v.cut = true
	}
	v.relay = ""
	return v.stands(ctx, 0, 1, "over "+kind, func(s standing) bool {
		if s.Node == v.Nodes[0].Name {
			v.relay = s.Via
		}
		return strings.HasPrefix(s.Via, kind)
	})
}

// host is that of the relay.
func (v *victim) host() (*lab.Host, error) {
	h, ok := v.Find(v.relay)
	if !ok {
		return nil, fmt.Errorf("no host %q", v.relay)
	}
	return h, nil
}

func killServer(_ context.Context, v *victim) error {
	h, err := v.host()
	if err == nil {
		v.ServerProcesses[h.Name].Kill()
	}
	return err
}

func restartServer(ctx context.Context, v *victim) error {
	h, err := v.host()
	if err != nil {
		return err
	}
	return errors.Join(v.StartServerOn(ctx, h, backend...), v.InStep(ctx, len(v.Nodes)))
}

// cutRelay cuts the wire of the host that relays.
func cutRelay(ctx context.Context, v *victim) error {
	h, err := v.host()
	if err != nil {
		return err
	}
	return h.Cut(ctx)
}

func mendRelay(ctx context.Context, v *victim) error {
	h, err := v.host()
	if err != nil {
		return err
	}
	return errors.Join(h.Mend(ctx), v.InStep(ctx, len(v.Nodes)))
}
