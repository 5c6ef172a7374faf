package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// dialing measures dials one after another: CONNECT, a message, its echo, the end.
func dialing(ctx context.Context, b *bench, c contender) ([]figure, error) {
	echo, open, err := b.dials(ctx, c, shape{}, 600)
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: "dial and echo, p50", unit: "ms", value: 1e3 * quantile(echo, 0.5), share: true},
		{what: "CONNECT to its 200, p50", unit: "ms", value: 1e3 * quantile(open, 0.5)},
	}, nil
}

// farDialing measures them where a round trip takes 40 ms, in round trips.
func farDialing(ctx context.Context, b *bench, c contender) ([]figure, error) {
	echo, open, err := b.dials(ctx, c, shape{delay: oneWay}, 12)
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: "at 40 ms, CONNECT to its 200, p50", unit: "round trips", value: quantile(open, 0.5) / rtt},
		{what: "at 40 ms, dial and echo, p50", unit: "round trips", value: quantile(echo, 0.5) / rtt},
	}, nil
}

func (b *bench) dials(ctx context.Context, c contender, sh shape, n int) (echo, open []float64, err error) {
	s, err := raise(ctx, b.self, c, sh)
	if err != nil {
		return nil, nil, err
	}
	defer s.end()
	a, err := s.dial(ctx, n, soon)
	if err != nil {
		return nil, nil, err
	}
	if a.Bad > 0 {
		return nil, nil, fmt.Errorf("%d of %d dials: %s", a.Bad, n, a.Why)
	}
	for _, t := range a.Times {
		echo, open = append(echo, t.Echo), append(open, t.Open)
	}
	return echo, open, nil
}

// besideBulk is how many streams an echo stands beside.
const besideBulk = 16

// beside measures an echo beside streams that are full, down.
func beside(ctx context.Context, b *bench, c contender) ([]figure, error) {
	echo, err := b.besideFull(ctx, c, false)
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: fmt.Sprintf("echo beside %d full streams, p99", besideBulk), unit: "ms", value: 1e3 * quantile(echo, 0.99), share: true},
		{what: fmt.Sprintf("echo beside %d full streams, p50", besideBulk), unit: "ms", value: 1e3 * quantile(echo, 0.5)},
	}, nil
}

// floor measures an echo that goes straight to the target beside the same streams:
// what the machine's processors, the client and the target make of it alone.
func floor(ctx context.Context, b *bench, c contender) ([]figure, error) {
	echo, err := b.besideFull(ctx, c, true)
	if err != nil {
		return nil, err
	}
	return []figure{{what: fmt.Sprintf("echo past the tunnel beside %d full streams, p99", besideBulk), unit: "ms", value: 1e3 * quantile(echo, 0.99)}}, nil
}

func (b *bench) besideFull(ctx context.Context, c contender, past bool) ([]float64, error) {
	s, err := raise(ctx, b.self, c, shape{})
	if err != nil {
		return nil, err
	}
	defer s.end()
	a, err := s.client.ask(ctx, order{Do: "bulk", N: besideBulk, Mode: modeDown, Target: s.spec.Target, Each: soon})
	if err != nil {
		return nil, err
	}
	if a.Bad > 0 {
		return nil, errors.New(a.Why)
	}
	if err := pause(ctx, warm); err != nil {
		return nil, err
	}
	return s.echo(ctx, order{For: 3 * time.Second, Past: past})
}

// echo sends a message every 4 ms for a time, and opens o.N streams meanwhile that
// nobody reads.
func (s *stack) echo(ctx context.Context, o order) ([]float64, error) {
	o.Do, o.Every, o.Target, o.Each = "echo", 4*time.Millisecond, s.spec.Target, soon/3
	a, err := s.client.ask(ctx, o)
	if err != nil {
		return nil, err
	}
	if a.Bad > 0 {
		return nil, errors.New(a.Why)
	}
	out := make([]float64, 0, len(a.Times))
	for _, t := range a.Times {
		out = append(out, t.Echo)
	}
	return out, nil
}

// quantile of values, in any order.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return v[min(len(v)-1, int(q*float64(len(v))))]
}
