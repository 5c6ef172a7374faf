package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	warm    = 400 * time.Millisecond
	farWarm = 1200 * time.Millisecond // windows grow by round trips
	window  = time.Second
	soon    = 10 * time.Second // deadline of what ought to take milliseconds
)

// flows measures streams that are full, one way and then the other.
func flows(sh shape, n int, what string) func(context.Context, *bench, contender) ([]figure, error) {
	return func(ctx context.Context, b *bench, c contender) (out []figure, err error) {
		for _, way := range []struct {
			mode byte
			name string
		}{{modeDown, "down"}, {modeUp, "up"}} {
			r, err := b.full(ctx, c, sh, n, way.mode)
			if err != nil {
				return out, fmt.Errorf("%s: %w", way.name, err)
			}
			out = append(out, figure{what: what + " " + way.name, unit: "MB/s", value: r.rate / 1e6, share: true})
			if sh.delay == 0 {
				out = append(out,
					figure{what: "CPU, " + what + " " + way.name, unit: "s/GB", value: (r.server + r.agent) * 1e9 / r.bytes, share: true},
					figure{what: "CPU of the server alone, " + what + " " + way.name, unit: "s/GB", value: r.server * 1e9 / r.bytes},
					figure{what: "processors busy with all four processes, " + what + " " + way.name, value: r.busy})
			}
		}
		return out, nil
	}
}

// both measures 64 streams that are full both ways, the sum of both.
func both(ctx context.Context, b *bench, c contender) ([]figure, error) {
	f := figure{what: "64 streams, both ways", unit: "MB/s", share: true}
	r, err := b.full(ctx, c, shape{}, 64, modeBoth)
	switch {
	case errors.Is(err, errStuck):
		f.note = "deadlock while they were opened"
	case err != nil:
		return nil, err
	case r.bytes == 0:
		f.note = "deadlock"
	}
	f.value = r.rate / 1e6
	return []figure{f}, nil
}

// errStuck is a stream that does not open beside those that are full already.
var errStuck = errors.New("stuck")

// rate of streams that were full for a while.
type rate struct {
	rate          float64 // bytes/s
	bytes         float64
	server, agent float64 // processor seconds
	busy          float64 // processors that client, target, server and agent had
}

// full makes streams busy, lets them come to speed, and looks twice.
func (b *bench) full(ctx context.Context, c contender, sh shape, n int, mode byte) (r rate, err error) {
	s, err := raise(ctx, b.self, c, sh)
	if err != nil {
		return r, err
	}
	defer s.end()
	a, err := s.client.ask(ctx, order{Do: "bulk", N: n, Mode: mode, Target: s.spec.Target, Each: soon / 2})
	if err == nil && a.Bad > 0 {
		err = fmt.Errorf("%w: not even %d streams open: %s", errStuck, n, a.Why)
	}
	if err != nil {
		return r, err
	}
	w := warm
	if sh.delay > 0 {
		w = farWarm
	}
	if mode == modeBoth {
		w *= 6 // a deadlock needs time to come about
	}
	if err := pause(ctx, w); err != nil {
		return r, err
	}
	return s.window(ctx, mode, b.profileAs(c.name, n, mode))
}

// profileAs is where profiles of such a run go, less what tells processes apart.
func (b *bench) profileAs(contender string, n int, mode byte) string {
	if b.profiles == "" {
		return ""
	}
	return filepath.Join(b.profiles, fmt.Sprintf("%s-%d-%c-", contender, n, mode))
}

func (s *stack) window(ctx context.Context, mode byte, profile string) (r rate, err error) {
	toggle := func() error {
		if profile == "" {
			return nil
		}
		for _, p := range []*process{s.server, s.agent} {
			if _, err := p.ask(ctx, order{Do: "profile", Path: profile + p.role + ".prof"}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := toggle(); err != nil {
		return r, err
	}
	before, err := s.four(ctx)
	if err != nil {
		return r, err
	}
	w := window
	if profile != "" {
		w *= 5 // a profile wants samples
	}
	if err := pause(ctx, w); err != nil {
		return r, err
	}
	after, err := s.four(ctx)
	if err != nil {
		return r, err
	}
	for i, counts := range []bool{mode != modeUp, mode != modeDown} { // of client, of target
		if counts {
			n := float64(after[i].Bytes - before[i].Bytes)
			r.bytes += n
			r.rate += n * 1e9 / float64(after[i].At-before[i].At)
		}
	}
	r.server, r.agent = after[2].CPU-before[2].CPU, after[3].CPU-before[3].CPU
	for i := range after {
		r.busy += (after[i].CPU - before[i].CPU) * 1e9 / float64(after[i].At-before[i].At)
	}
	return r, toggle()
}

// four looks at client, target, server and agent.
func (s *stack) four(ctx context.Context) (out [4]look, err error) {
	for i, p := range []*process{s.client, s.target, s.server, s.agent} {
		if out[i], err = p.look(ctx, false); err != nil {
			return out, err
		}
	}
	return out, nil
}
