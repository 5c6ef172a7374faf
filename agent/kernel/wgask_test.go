package kernel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"

	"github.com/weft-net/weft/agent/datapath"
)

// TestAsk: a device that hangs is waited for once; until it answers everybody else is
// told at once, and other devices are not delayed.
func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &Kernel{wg: wireguard{client: &wgctrl.Client{}, inKernel: true}}
		answer := make(chan struct{})
		hangs := func(*wgctrl.Client) error { <-answer; return nil }
		works := func(*wgctrl.Client) error { return nil }
		start := time.Now()
		ask := func(dev string, request func(*wgctrl.Client) error) error {
			ctx, cancel := context.WithTimeout(t.Context(), wgPatience+time.Nanosecond)
			defer cancel()
			return k.ask(ctx, dev, true, request)
		}
		if err := ask("a", hangs); !errors.Is(err, errHangs) || time.Since(start) < wgPatience {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		start = time.Now()
		err := ask("a", works)
		var b interface{ Culprit() datapath.Key }
		if !errors.Is(err, errHangs) || !errors.As(err, &b) || b.Culprit() != (datapath.Link{Name: "a"}).Key() {
			t.Errorf("while it hangs: %v", err)
		}
		if err := ask("b", works); err != nil {
			t.Errorf("another: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
		close(answer)
		synctest.Wait()
		if err := ask("a", works); err != nil {
			t.Errorf("once it answers: %v", err)
		}
	})
}
