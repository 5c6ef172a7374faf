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

// every is the time between two packets of a ping.
const every = 10 * time.Millisecond

// skew is for how long one of two nodes does not hear of what the other does.
const skew = time.Second

// move is something that is done to a pair of nodes under a ping.
type move struct {
	name string
	do   func(context.Context, *fabric) error
	prep func(context.Context, *fabric) error // before the ping; nil: nothing
}

// toWireGuard is the configuration in which all is encrypted.
const toWireGuard = "backend: wireguard, encryption: untrusted"

// allMoves are made one after the other on one fabric, which begins with WireGuard.
var allMoves = []move{
	{name: "agent killed -9 and restarted", do: killed},
	{name: "key rotation, 1 s of skew", do: rotated},
	{name: "address roams", do: roamed},
	{name: "relay to direct", do: climbed, prep: cutUDP},
	{name: "direct to relay, and back", do: gateways},
	{name: "WireGuard to direct (auto)", do: toDirect},
	{name: "direct to WireGuard", do: func(ctx context.Context, f *fabric) error {
		return changed(ctx, f, toWireGuard, "weft-wg", "weft-vx")
	}},
	{name: "WireGuard to VXLAN", do: func(ctx context.Context, f *fabric) error {
		return changed(ctx, f, "backend: vxlan", "weft-vx", "weft-wg")
	}},
	{name: "VXLAN to WireGuard", do: func(ctx context.Context, f *fabric) error {
		return changed(ctx, f, toWireGuard, "weft-wg", "weft-vx")
	}},
	{name: "pre-shared keys switched on", do: preshared},
	{name: "PSK rotation, 1 s of skew", do: reshared, prep: settled},
}

// within bounds a move. One that takes longer is said to be missed.
const within = 30 * time.Second

// tally is what was lost in all rounds.
type tally struct{ lost, sent, missed int }

func (t tally) String() string {
	text := fmt.Sprintf("%d of %d", t.lost, t.sent)
	if t.missed > 0 {
		text += fmt.Sprintf(" (not done within %v: %d times)", within, t.missed)
	}
	return text
}

func (t *tally) add(c lab.Count) {
	t.lost += c.Missing()
	t.sent += c.Sent
}

// moves: what a ping each way between two pods loses while their nodes move.
func moves(ctx context.Context, b *bench) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	lost := make([]tally, len(allMoves))
	var inPlace tally
	rounds := b.times(2)
	for range rounds {
		var all sync.WaitGroup
		var bare []lab.Count
		var failed error
		all.Go(func() { bare, failed = rekeyedInPlace(ctx, b) })
		err := movesOnce(ctx, b, lost)
		all.Wait()
		if err := errors.Join(err, failed); err != nil {
			return line{}, err
		}
		for _, c := range bare {
			say("a key changed in place: %v", c)
			inPlace.add(c)
		}
	}
	var measured []string
	var all tally
	for i, m := range allMoves {
		measured = append(measured, fmt.Sprintf("%s: %v", m.name, lost[i]))
		all.lost, all.sent = all.lost+lost[i].lost, all.sent+lost[i].sent
	}
	return line{
		fmt.Sprintf("packets of a 10 ms ping lost, each way, %d rounds", rounds),
		fmt.Sprintf("a key changed in place with 1 s of skew (two bare wireguard-go, wg set private-key): %v", inPlace),
		fmt.Sprintf("**%v lost** (%s)", all, strings.Join(measured, "; ")),
	}, nil
}

func movesOnce(ctx context.Context, b *bench, lost []tally) error {
	f, err := b.start(ctx, lab.Layout{Nodes: 4}, []string{"--backend", "wireguard"},
		[]string{"--site", "a"}, []string{"--site", "b"}, []string{"--site", "a", "--node-label", "weft/relay=true"}, []string{"--site", "b", "--node-label", "weft/relay=true"})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.straight(ctx, 0, 1); err != nil {
		return err
	}
	for i, m := range allMoves {
		if err := underPing(ctx, f, m, &lost[i]); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// underPing makes a move under pings of both families, one each way.
func underPing(ctx context.Context, f *fabric, m move, lost *tally) error {
	if m.prep != nil {
		if err := m.prep(ctx, f); err != nil {
			return err
		}
	}
	var flows []*lab.Flow
	for i := range 2 {
		flow, err := lab.StartFlow(f.pods[i].Host, f.pods[1-i].Addrs[i], every)
		if err != nil {
			return err
		}
		defer flow.Close()
		flows = append(flows, flow)
	}
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := m.do(bounded, f)
	switch {
	case ctx.Err() != nil, err != nil && bounded.Err() == nil:
		return err
	case err != nil:
		say("%s: not done: %v", m.name, err)
		lost.missed++
	}
	for i, flow := range flows {
		c, err := flow.Stop(ctx)
		if err != nil {
			return err
		}
		lost.add(c)
		say("%s, %s to %s: %v (%v)", m.name, f.pods[i].Name, f.pods[1-i].Name, c, time.Since(began).Round(time.Millisecond))
	}
	return nil
}

func killed(ctx context.Context, f *fabric) error {
	for _, n := range f.Nodes[:2] {
		f.Agents[n.Name].Kill()
		if err := f.agents(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// roamed gives a node other addresses, and waits until the cluster knows them.
func roamed(ctx context.Context, f *fabric) error {
	n1 := f.Nodes[0]
	if err := n1.Roam(ctx); err != nil {
		return err
	}
	err := lab.Until(ctx, "the new addresses of n1 are known", func() (string, error) {
		out, err := f.Weft(ctx, "get", "nodes", "-o", "wide")
		if err == nil && !strings.Contains(out, f.NodeIPs(n1)[0]) {
			err = lab.ErrNotYet
		}
		return out, err
	})
	return errors.Join(err, f.InStep(ctx, len(f.Nodes)), f.straight(ctx, 0, 1))
}

// cutUDP drops all UDP between two nodes, and waits until they meet over a relay.
func cutUDP(ctx context.Context, f *fabric) error {
	n1, n2 := f.Nodes[0], f.Nodes[1]
	return errors.Join(f.Lose(ctx, n1, n2, 100, "meta l4proto udp"), f.Lose(ctx, n2, n1, 100, "meta l4proto udp"), f.relayed(ctx, 0, 1, ""))
}

// climbed lets UDP pass again, and waits until both nodes use it.
func climbed(ctx context.Context, f *fabric) error {
	n1, n2 := f.Nodes[0], f.Nodes[1]
	return errors.Join(f.Pass(ctx, n1, n2), f.Pass(ctx, n2, n1), f.straight(ctx, 0, 1))
}

// gateways has two sites meet over relaying nodes, while their own path works, and
// straight again.
func gateways(ctx context.Context, f *fabric) error {
	if err := f.config(ctx, "topology: site-gateways"); err != nil {
		return err
	}
	err := f.relayed(ctx, 0, 1, "")
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	return errors.Join(err, f.config(back, "topology: full"), f.straight(back, 0, 1))
}

func toDirect(ctx context.Context, f *fabric) error {
	err := changed(ctx, f, "backend: auto, encryption: never", "eth0", "")
	return errors.Join(err, lab.Until(ctx, "the cluster has left WireGuard", func() (string, error) {
		out, err := f.Weft(ctx, "events", "--for", "clusterconfig/default")
		if err == nil && !strings.Contains(out, "CarrierLeft") {
			err = lab.ErrNotYet
		}
		return out, err
	}))
}

// changed changes the backend, and waits until both nodes send by another device and
// those of the one before are gone.
func changed(ctx context.Context, f *fabric, spec, dev, without string) error {
	return errors.Join(f.config(ctx, spec), f.sends(ctx, 0, 1, dev, without))
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
