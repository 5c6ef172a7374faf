package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	faultStreams = 4
	frozenFor    = 40 * time.Second
	cutFor       = 40 * time.Second // how long a row waits for what may never come
)

// frozen stops the agent's process for 40 s with streams open: when the server's end
// of them is over, and when the next dial works after the agent goes on.
func frozen(ctx context.Context, b *bench, c contender) ([]figure, error) {
	s, before, err := b.faulty(ctx, c, shape{})
	if err != nil {
		return nil, err
	}
	defer s.end()
	began := time.Now()
	if err := s.agent.freeze(); err != nil {
		return nil, err
	}
	ended, gone, err := s.awaitEnd(ctx, began, frozenFor)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, time.Until(began.Add(frozenFor))); err != nil {
		return nil, err
	}
	if err := s.agent.thaw(); err != nil {
		return nil, err
	}
	back := time.Now()
	out := []figure{noticed("agent frozen 40 s: streams over at the client", ended)}
	if c.name != "tls" { // there is no tunnel
		out = append(out, noticed("agent frozen 40 s: tunnel gone at the server", gone))
	}
	if err := s.works(ctx, 30*time.Second); err != nil {
		return append(out, figure{what: "agent goes on: next dial works", unit: "s", note: err.Error()}), nil
	}
	out = append(out, figure{what: "agent goes on: next dial works", unit: "s", value: time.Since(back).Seconds()})
	return s.left(ctx, out, "agent frozen", before)
}

// cut loses what stands of the path, silently, and lets new connections pass: when
// the streams are over, and when the next dial works.
func cut(ctx context.Context, b *bench, c contender) ([]figure, error) {
	s, before, err := b.faulty(ctx, c, shape{relayed: true})
	if err != nil {
		return nil, err
	}
	defer s.end()
	began := time.Now()
	if _, err := s.relay.ask(ctx, order{Do: "cut"}); err != nil {
		return nil, err
	}
	works := figure{what: "path cut: next dial works", unit: "s"}
	if err := s.works(ctx, cutFor); err != nil {
		works.note = fmt.Sprintf("not within %v", cutFor)
	} else {
		works.value = time.Since(began).Seconds()
	}
	ended, _, err := s.awaitEnd(ctx, began, cutFor)
	if err != nil {
		return nil, err
	}
	return s.left(ctx, []figure{works, noticed("path cut: streams over at the client", ended)}, "path cut", before)
}

// faulty is a stack with a few idle streams, and its goroutines without them.
func (b *bench) faulty(ctx context.Context, c contender, sh shape) (*stack, [2]int, error) {
	var before [2]int
	s, err := raise(ctx, b.self, c, sh)
	if err != nil {
		return nil, before, err
	}
	fail := func(err error) (*stack, [2]int, error) {
		s.end()
		return nil, before, err
	}
	server, agent, err := s.pair(ctx, true)
	if err != nil {
		return fail(err)
	}
	before = [2]int{server.Goroutines, agent.Goroutines}
	a, err := s.client.ask(ctx, order{Do: "hold", N: faultStreams, Mode: modeEcho, Target: s.spec.Target, Each: soon})
	if err == nil && a.Bad > 0 {
		err = errors.New(a.Why)
	}
	if err != nil {
		return fail(err)
	}
	if _, err := s.client.ask(ctx, order{Do: "watch"}); err != nil {
		return fail(err)
	}
	return s, before, nil
}

// awaitEnd waits until all streams are over at the client and, as far as it says so,
// the tunnel at the server; zero is not within limit.
func (s *stack) awaitEnd(ctx context.Context, began time.Time, limit time.Duration) (ended, gone time.Duration, err error) {
	for time.Since(began) < limit && (ended == 0 || gone == 0) {
		l, err := s.client.look(ctx, false)
		if err != nil {
			return 0, 0, err
		}
		if l.Ended > 0 {
			ended = time.Unix(0, l.Ended).Sub(began)
		}
		if l, err = s.server.look(ctx, false); err != nil {
			return 0, 0, err
		}
		if l.Sessions == 0 && gone == 0 {
			gone = time.Since(began)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
		if ended > 0 && s.relay != nil {
			break // a new tunnel may stand already: gone says nothing
		}
	}
	return ended, gone, nil
}

func noticed(what string, after time.Duration) figure {
	f := figure{what: what, unit: "s", value: after.Seconds()}
	if after == 0 {
		f.note = "never in 40 s"
	}
	return f
}

// left adds what server and agent still hold when the client has closed its streams,
// if they were not over before.
func (s *stack) left(ctx context.Context, out []figure, what string, before [2]int) ([]figure, error) {
	if _, err := s.client.ask(ctx, order{Do: "release"}); err != nil {
		return out, err
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return out, err
	}
	server, agent, err := s.pair(ctx, true)
	if err != nil {
		return out, err
	}
	return append(out,
		figure{what: what + ": goroutines over, server", value: float64(server.Goroutines - before[0])},
		figure{what: what + ": goroutines over, agent", value: float64(agent.Goroutines - before[1])}), nil
}
