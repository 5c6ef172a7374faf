package reconcile

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/datapath"
)

func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		pod := podObjects(5)
		w.kernel.Put(podLink(5))
		w.plan.set(func(p *Want) { p.Parts = [][]datapath.Object{pod} })
		began := time.Now()
		if err := w.Sync(t.Context(), keysOf(pod...)); err != nil {
			t.Fatal(err)
		}
		w.wants(t, pod...)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v of virtual time", took)
		}
		w.plan.set(func(p *Want) { p.Parts = nil })
		if err := w.Sync(t.Context(), keysOf(pod...)); err != nil {
			t.Fatal(err)
		}
		w.lacks(t, pod...)
	})
}

func TestSyncStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		var all []datapath.Object
		for i := range 32 {
			w.kernel.Put(podLink(i + 1))
			all = append(all, podObjects(i+1)...)
		}
		w.plan.set(func(p *Want) { p.Parts = [][]datapath.Object{all} })
		bad := podObjects(7)
		for _, o := range bad[1:] { // its route and its element
			w.kernel.Fail(o.Key(), errRefused)
		}
		looked, _ := w.kernel.counts()
		errs := make([]error, 32)
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() { errs[i] = w.Sync(t.Context(), keysOf(podObjects(i+1)...)) })
		}
		wg.Wait()
		for i, err := range errs {
			if isBad := i+1 == 7; isBad != errors.Is(err, errRefused) {
				t.Errorf("pod %d: %v", i+1, err)
			}
			if i+1 != 7 {
				w.wants(t, podObjects(i+1)...)
			}
		}
		if again, _ := w.kernel.counts(); again > looked+6 {
			t.Errorf("%d looks for 32 pods of which one fails", again-looked)
		}
	})
}

// TestSyncSharesOnePass: what comes while a batch is under way goes together.
func TestSyncSharesOnePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		var all []datapath.Object
		for i := range 32 {
			w.kernel.Put(podLink(i + 1))
			all = append(all, podObjects(i+1)...)
		}
		gate := make(chan struct{})
		w.plan.set(func(p *Want) { p.Parts = [][]datapath.Object{all}; w.plan.gate = gate })
		looked, applied := w.kernel.counts()
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				if err := w.Sync(t.Context(), keysOf(podObjects(i+1)...)); err != nil {
					t.Error(err)
				}
			})
			if i == 0 {
				synctest.Wait() // the loop plans for the first
			}
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if l, a := w.kernel.counts(); l != looked || a != applied+2 {
			t.Errorf("%d looks and %d batches for 32 pods, want none and 2", l-looked, a-applied)
		}
		w.wants(t, all...)
	})
}

// TestSyncMakesAgain: a pod's device went and came back under the same name, so
// that its route is gone although our last commit has it.
func TestSyncMakesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		pod := podObjects(5)
		w.kernel.Put(podLink(5))
		w.plan.set(func(p *Want) { p.Parts = [][]datapath.Object{pod} })
		if err := w.Sync(t.Context(), keysOf(pod...)); err != nil {
			t.Fatal(err)
		}
		del(pod[1])(w.kernel)
		if err := w.Sync(t.Context(), keysOf(pod...)); err != nil {
			t.Fatal(err)
		}
		w.wants(t, pod...)
	})
}

// TestSyncAfterFlush: the set that a pod's element goes into was flushed a moment
// ago and nobody has told yet.
func TestSyncAfterFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		pod := podObjects(5)
		w.kernel.Put(podLink(5))
		w.plan.set(func(p *Want) { p.Parts = [][]datapath.Object{pod} })
		w.kernel.FlushRuleset()
		if err := w.Sync(t.Context(), keysOf(pod...)); err != nil {
			t.Fatal(err)
		}
		w.wants(t, pod...)
		w.wants(t, peers()...)
	})
}

func TestSyncBeforeTheFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{kernel: newFake(), plan: &plan{want: Want{Objects: append(peers(), podObjects(1)...)}}}
		w.kernel.Put(podLink(1))
		w.Loop = New(Config{Kernel: w.kernel, Plan: w.plan.Plan})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- w.Sync(t.Context(), keysOf(podObjects(1)...)) }()
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		if err := <-result; err != nil {
			t.Error(err)
		}
		w.wants(t, podObjects(1)...)
		cancel()
		<-done
	})
}

func TestSyncErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		hurt func(*world, context.CancelFunc)
		want error
	}{
		{"object refused", func(w *world, _ context.CancelFunc) { w.kernel.Fail(podObjects(1)[1].Key(), errRefused) }, errRefused},
		{"no plan", func(w *world, _ context.CancelFunc) { w.plan.fail(errRefused) }, errRefused},
		{"caller gives up", func(_ *world, cancel context.CancelFunc) { cancel() }, context.Canceled},
		{"loop has stopped", func(w *world, _ context.CancelFunc) { w.stop() }, ErrStopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := run(t, peers()...)
				w.kernel.Put(podLink(1))
				w.plan.set(func(p *Want) { p.Parts = [][]datapath.Object{podObjects(1)} })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c.hurt(w, cancel)
				if err := w.Sync(ctx, keysOf(podObjects(1)...)); !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if c.want != ErrStopped {
					w.stop()
				}
			})
		})
	}
}
