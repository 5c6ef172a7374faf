package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// stalled measures an echo on an idle tunnel, beside one stream whose client reads
// nothing, and beside 200 of them, from when they are opened on; and what each of
// those 200 holds.
func stalled(ctx context.Context, b *bench, c contender) (out []figure, err error) {
	s, err := raise(ctx, b.self, c, shape{})
	if err != nil {
		return nil, err
	}
	defer s.end()
	const d = 1500 * time.Millisecond
	idle, err := s.echo(ctx, order{For: d})
	if err != nil {
		return nil, err
	}
	base := quantile(idle, 0.99)
	out = append(out, figure{what: "echo, idle, p99", unit: "ms", value: 1e3 * base})
	server, agent, err := s.pair(ctx, true)
	if err != nil {
		return out, err
	}
	for _, n := range []int{1, 200} {
		for _, p := range []struct {
			what string
			open int
		}{{fmt.Sprintf("echo while %d streams come and stall", n), n}, {fmt.Sprintf("echo beside %d stalled", n), 0}} {
			echo, err := s.echo(ctx, order{For: d, N: p.open})
			if err != nil {
				return append(out, figure{what: p.what + ", p99", unit: "ms", note: "dead: " + err.Error()}), nil
			}
			p99 := quantile(echo, 0.99)
			out = append(out, figure{what: p.what + ", p99", unit: "ms", value: 1e3 * p99}, figure{what: p.what + ", p99 to idle", value: p99 / base})
		}
		if n == 1 {
			if _, err := s.client.ask(ctx, order{Do: "release"}); err != nil {
				return out, err
			}
		}
	}
	server2, agent2, err := s.pair(ctx, true)
	if err != nil {
		return out, err
	}
	live := func(l look) int64 { return l.Heap + l.Stacks }
	return append(out,
		figure{what: "memory of each of 200 stalled, live", unit: "MB", value: float64(live(server2)+live(agent2)-live(server)-live(agent)) / 1e6 / 200},
		figure{what: "memory of 200 stalled, resident", unit: "MB", value: float64(server2.RSS+agent2.RSS-server.RSS-agent.RSS) / 1e6}), nil
}

// refused dials what nobody listens on, and what the agent's rules forbid, while
// other streams stand.
func refused(ctx context.Context, b *bench, c contender) (out []figure, err error) {
	free, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	for _, r := range []struct{ by, target string }{
		{"the target", net.JoinHostPort("127.0.0.1", fmt.Sprint(free[0]))},
		{"the agent's rules", net.JoinHostPort(forbidden, fmt.Sprint(free[0]))},
	} {
		live, said, err := b.refusal(ctx, c, r.target)
		if err != nil {
			return out, err
		}
		out = append(out,
			figure{what: "dial refused by " + r.by + ": other streams that live, of " + fmt.Sprint(refusalBeside), value: float64(live)},
			figure{what: "dial refused by " + r.by + ": what it got", note: said})
	}
	return out, nil
}

const refusalBeside = 8

func (b *bench) refusal(ctx context.Context, c contender, target string) (live int, said string, err error) {
	s, err := raise(ctx, b.self, c, shape{})
	if err != nil {
		return 0, "", err
	}
	defer s.end()
	a, err := s.client.ask(ctx, order{Do: "hold", N: refusalBeside, Mode: modeEcho, Target: s.spec.Target, Each: soon})
	if err == nil && a.Bad > 0 {
		err = errors.New(a.Why)
	}
	if err != nil {
		return 0, "", err
	}
	refusal, err := s.client.ask(ctx, order{Do: "dial", N: 1, Each: 3 * time.Second, Target: target})
	if err != nil {
		return 0, "", err
	}
	if err := pause(ctx, 200*time.Millisecond); err != nil {
		return 0, "", err
	}
	after, err := s.client.ask(ctx, order{Do: "check", Each: 3 * time.Second})
	return refusalBeside - after.Bad, refusal.Why, err
}

// idle measures what streams cost the server that nobody uses: its tunnel alone, no
// front, no copying.
func idle(ctx context.Context, b *bench, c contender) ([]figure, error) {
	s, err := raise(ctx, b.self, c, shape{})
	if err != nil {
		return nil, err
	}
	defer s.end()
	const n = 4000
	before, err := s.server.look(ctx, true)
	if err != nil {
		return nil, err
	}
	a, err := s.server.ask(ctx, order{Do: "open", N: n, Target: s.spec.Target})
	if err == nil && a.Bad > 0 {
		err = fmt.Errorf("%d of %d streams: %s", a.Bad, n, a.Why)
	}
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, time.Second); err != nil {
		return nil, err
	}
	after, err := s.server.look(ctx, true)
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: "idle stream at the server", unit: "KB", value: each(before, after, n)},
		{what: "idle stream at the server, goroutines", value: float64(after.Goroutines-before.Goroutines) / n},
	}, nil
}

// each is the growth of heap and stacks, KB for each of n.
func each(before, after look, n int) float64 {
	return float64(after.Heap+after.Stacks-before.Heap-before.Stacks) / 1e3 / float64(n)
}

// tunnels measures what agents' tunnels cost the server on which no stream stands:
// TLS, websocket and session, all that the process holds for them.
func tunnels(ctx context.Context, b *bench, c contender) ([]figure, error) {
	const n = 1000
	s, err := raise(ctx, b.self, c, shape{tunnels: n, lone: true})
	if err != nil {
		return nil, err
	}
	defer s.end()
	before, err := s.server.look(ctx, true)
	if err != nil {
		return nil, err
	}
	if err := s.join(ctx, b.self); err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; {
		l, err := s.server.look(ctx, false)
		if err != nil {
			return nil, err
		}
		if l.Sessions == n {
			break
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%d of %d tunnels after %v", l.Sessions, n, patience)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	after, err := s.server.look(ctx, true)
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: "idle tunnel of 1,000 at the server", unit: "KB", value: each(before, after, n)},
		{what: "idle tunnel of 1,000, goroutines", value: float64(after.Goroutines-before.Goroutines) / n},
	}, nil
}

// burst opens ten thousand streams at once and closes them all.
func burst(ctx context.Context, b *bench, c contender) ([]figure, error) {
	s, err := raise(ctx, b.self, c, shape{})
	if err != nil {
		return nil, err
	}
	defer s.end()
	const n = 10000
	server, agent, err := s.pair(ctx, true)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	a, err := s.client.ask(ctx, order{Do: "hold", N: n, Mode: modeEcho, Target: s.spec.Target, Each: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	full, _, err := s.pair(ctx, true)
	if err != nil {
		return nil, err
	}
	if _, err := s.client.ask(ctx, order{Do: "release"}); err != nil {
		return nil, err
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	server2, agent2, err := s.pair(ctx, true)
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: "10,000 streams at once, each dialled and echoed", unit: "s", value: took.Seconds()},
		{what: "10,000 streams, failed", value: float64(a.Bad), note: a.Why},
		{what: "10,000 streams, server with its front, each", unit: "KB", value: each(server, full, n)},
		{what: "goroutines over 2 s after, server", value: float64(server2.Goroutines - server.Goroutines)},
		{what: "goroutines over 2 s after, agent", value: float64(agent2.Goroutines - agent.Goroutines)},
	}, nil
}
