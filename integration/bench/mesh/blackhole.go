package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

const (
	swallowed = 1300            // bytes of an IP packet on the wire; longer ones are lost
	wrapping  = 60              // bytes that WireGuard adds over IPv4 (20 + 8 + 32)
	near      = 64              // bytes below what fits, at most, for a size that is found
	before    = 3 * time.Second // of TCP before the path loses them
	watched   = 15              // seconds of TCP in all
)

// blackhole: TCP between two pods while a path loses, in silence, what is longer than
// 1300 bytes: until the routes of both nodes have a size that passes, and how much TCP
// carries in each second meanwhile.
func blackhole(ctx context.Context, b *bench) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var settled, stalled []float64
	var seconds string
	for range b.times(5) {
		h, err := swallowOnce(ctx, b)
		if err != nil {
			return line{}, err
		}
		say("settled after %v, TCP without a byte for %v, Mbit in each second: %s", h.settled.Round(time.Millisecond), h.stalled.Round(time.Millisecond), h.seconds())
		settled, stalled = append(settled, h.settled.Seconds()), append(stalled, h.stalled.Seconds())
		seconds = h.seconds()
	}
	return line{
		fmt.Sprintf("silent loss above %d bytes on one path, under TCP", swallowed),
		"black hole (cilium#47176)",
		fmt.Sprintf("found and settled after **%s**; TCP carried nothing for %s; Mbit in each second of the last run, the loss from second %d on: %s",
			spread(settled, 1, " s"), spread(stalled, 1, " s"), int(before.Seconds())+1, seconds),
	}, nil
}

// hole is what one black hole did.
type hole struct {
	settled, stalled time.Duration
	tcp              transfer
}

// seconds is what TCP carried in each.
func (h hole) seconds() string {
	sums := make([]int64, watched)
	for _, i := range h.tcp.Intervals {
		if at := int(i.Sum.Start); at < len(sums) {
			sums[at] += i.Sum.Bytes
		}
	}
	var words []string
	for _, s := range sums {
		words = append(words, strconv.FormatInt(s*8/1e6, 10))
	}
	return strings.Join(words, " ")
}

func swallowOnce(ctx context.Context, b *bench) (h hole, err error) {
	f, err := b.start(ctx, lab.Layout{Nodes: 2}, backend)
	if err != nil {
		return h, err
	}
	defer f.Close()
	if err := f.straight(ctx, 0, 1); err != nil {
		return h, err
	}
	var all sync.WaitGroup
	var failed error
	all.Go(func() {
		h.tcp, failed = iperf(ctx, f.pods[0].Host, f.pods[1].Host, f.pods[1].Addrs[0].String(), watched, "-i", "0.1", "-R", "-O", "0")
	})
	pause(ctx, before)
	n1, n2 := f.Nodes[0], f.Nodes[1]
	if err := errors.Join(f.Swallow(ctx, n1, n2, swallowed), f.Swallow(ctx, n2, n1, swallowed)); err != nil {
		return h, err
	}
	began := time.Now()
	for i := range 2 {
		if err := f.fits(ctx, i, 1-i); err != nil {
			return h, err
		}
	}
	h.settled = time.Since(began)
	all.Wait()
	h.stalled = silence(h.tcp)
	return h, failed
}

// fits waits until a node's route to the pod of another has the size that passes, or
// little less: on the way there it may be much less.
func (f *fabric) fits(ctx context.Context, from, to int) error {
	addr := f.pods[to].Addrs[0].String()
	return lab.Until(ctx, "the route to "+addr+" has found its size", func() (string, error) {
		out, err := f.Nodes[from].Run(ctx, "ip", "-o", "route", "get", addr)
		if err != nil {
			return out, err
		}
		words := strings.Fields(out)
		for i, w := range words[:len(words)-1] {
			if mtu, err := strconv.Atoi(words[i+1]); w == "mtu" && err == nil && mtu <= swallowed-wrapping && mtu > swallowed-wrapping-near {
				return "", nil
			}
		}
		return out, lab.ErrNotYet
	})
}

// silence is the longest time in a row in which nothing was carried.
func silence(t transfer) time.Duration {
	var longest, now float64
	for _, i := range t.Intervals {
		if now += i.Sum.Seconds; i.Sum.Bytes > 0 {
			now = 0
		}
		longest = max(longest, now)
	}
	return time.Duration(longest * float64(time.Second))
}
