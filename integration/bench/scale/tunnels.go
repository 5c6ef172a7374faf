package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weft-net/weft/tunnel"
)

// heldTunnels is the tunnels of a generator's agents.
type heldTunnels struct {
	mu   sync.Mutex
	live int
	came []int64 // when each stood, Unix milliseconds
}

// serve holds a tunnel until it ends: nothing is dialled through it.
func (h *heldTunnels) serve(_ context.Context, c *tunnel.Conn, _ string) {
	h.mu.Lock()
	h.live++
	h.came = append(h.came, time.Now().UnixMilli())
	h.mu.Unlock()
	<-c.Done()
	h.mu.Lock()
	h.live--
	h.mu.Unlock()
}

// look is how many stand now, and when each that came after start stood.
func (h *heldTunnels) look(start time.Time) (live int, came []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ms := range h.came {
		if ms >= start.UnixMilli() {
			came = append(came, ms)
		}
	}
	return h.live, came
}

// standing waits until every agent has a tunnel to every server.
func (f *fabric) standing(ctx context.Context, start time.Time) (came []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for want := f.size * len(f.servers); ; {
		answers, err := f.ask(order{Do: "tunnels", Start: start.UnixNano()})
		if err != nil {
			return nil, err
		}
		live := 0
		came = came[:0]
		for _, a := range answers {
			live += a.Tunnels
			came = append(came, a.Came...)
		}
		if live >= want {
			slices.Sort(came)
			return came, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d tunnels stand: %w", live, want, ctx.Err())
		}
	}
}

// tunnels: a server ends, and starts again: until every agent's tunnel to it stands,
// and how many came in the second in which most did.
func tunnels(ctx context.Context, f *fabric, name string, sig syscall.Signal) error {
	if !f.options.tunnels {
		return nil
	}
	if _, err := f.standing(ctx, time.Unix(0, 0)); err != nil {
		return err
	}
	s := f.servers[0]
	began := time.Now()
	if err := s.Signal(sig); err != nil {
		return err
	}
	<-s.Done()
	if err := f.startServer(ctx, 0); err != nil {
		return err
	}
	up := time.Since(began)
	came, err := f.standing(ctx, began)
	if err != nil {
		return err
	}
	last := time.UnixMilli(came[len(came)-1]).Sub(began)
	return f.say(name, "s until it was ready", up.Seconds(), "s until all tunnels stood", last.Seconds(), "tunnels in the busiest second", float64(busiest(came)))
}

// busiest is how many of times, sorted, in milliseconds, are in one second at most.
func busiest(times []int64) (most int) {
	for i, j := 0, 0; j < len(times); j++ {
		for times[j]-times[i] >= 1000 {
			i++
		}
		most = max(most, j-i+1)
	}
	return most
}
