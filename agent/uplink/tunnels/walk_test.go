package tunnels

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestWalk: whatever happens, once it is over every server that answers has one
// tunnel that takes streams, and no other.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 8), 1, 40).Draw(rt, "steps")
		picks := rapid.SliceOfN(rapid.IntRange(0, 3), len(steps), len(steps)).Draw(rt, "picks")
		failed := ""
		synctest.Test(t, func(t *testing.T) { failed = walk(t, steps, picks) })
		if failed != "" {
			rt.Fatal(failed)
		}
	})
}

// addresses are of three servers: one has two.
var addresses = map[string]string{"s1:7443": "one", "s2:7443": "two", "s3:7443": "three", "lb:7443": "one"}

func walk(t *testing.T, steps, picks []int) string {
	w := newWorld(t, "lb:7443", "s1:7443", "s2:7443", "s3:7443")
	for a, peer := range addresses {
		w.peers[a] = peer
	}
	tt := w.tunnels()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tt.Run(ctx) }()
	for i, step := range steps {
		synctest.Wait()
		w.step(tt, step, []string{"lb:7443", "s1:7443", "s2:7443", "s3:7443"}[picks[i]])
		time.Sleep(time.Duration(picks[i]*picks[i]) * 700 * time.Millisecond)
	}
	synctest.Wait()
	w.change(func() {
		w.known = []string{"lb:7443", "s1:7443", "s2:7443", "s3:7443"}
		for a, peer := range addresses {
			w.peers[a] = peer
		}
		w.refuse = map[string]error{}
	})
	tt.Kick()
	time.Sleep(30 * time.Minute)
	synctest.Wait()
	failed := w.judge(tt)
	cancel()
	<-done
	return failed
}

// step makes something happen to a server or its tunnel.
func (w *world) step(tt *Tunnels, step int, server string) {
	var current *fake
	w.change(func() {
		for _, c := range w.conns {
			if c.peer == addresses[server] && c.err == nil && !c.draining {
				current = c
			}
		}
	})
	switch step {
	case 0:
		w.change(func() { w.peers[server] = "" })
	case 1:
		w.change(func() { w.peers[server] = addresses[server] })
	case 2:
		w.change(func() { w.refuse[addresses[server]] = answer(http.StatusNotFound, 0) })
	case 3:
		w.change(func() { w.refuse[addresses[server]] = answer(http.StatusServiceUnavailable, 3*time.Second) })
	case 4:
		tt.Renewed()
	case 5:
		tt.Moved(func(netip.Addr) bool { return false })
	case 6:
		w.change(func() { w.known = []string{server} })
		tt.Kick()
	case 7:
		tt.Alive(server)
	case 8:
		if current != nil && !closed(current.drained) {
			current.goAway()
		}
		if current == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
		current.die(errors.New("reset"))
	}
}

// judge says what is wrong after a long peace.
func (w *world) judge(tt *Tunnels) string {
	w.mu.Lock()
	open := map[string]int{}
	for _, c := range w.conns {
		if c.err == nil {
			open[c.peer]++
		}
	}
	w.mu.Unlock()
	if fmt.Sprint(open) != "map[one:1 three:1 two:1]" {
		return fmt.Sprintf("open are %v: %s", open, text(tt.List()))
	}
	return ""
}
