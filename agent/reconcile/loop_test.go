package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// plan is what a test wants at the moment.
type plan struct {
	mu   sync.Mutex
	want Want
	err  error
	gate chan struct{} // Plan waits until it is closed
}

func (p *plan) Plan(context.Context) (Want, error) {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	if gate != nil {
		<-gate
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want, p.err
}

func (p *plan) set(change func(*Want)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.want)
}

func (p *plan) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// world is a loop that runs over a fake kernel in a bubble of virtual time.
type world struct {
	*Loop
	kernel *fakeKernel
	plan   *plan
	stop   func()
}

// run starts a loop that wants objects, and waits until it rests.
func run(t *testing.T, objects ...datapath.Object) *world {
	t.Helper()
	w := &world{kernel: newFake(), plan: &plan{want: Want{Objects: objects, Complete: true, Revision: 7}}}
	return w.start(t)
}

func (w *world) start(t *testing.T) *world {
	t.Helper()
	w.Loop = New(Config{Kernel: w.kernel, Plan: w.plan.Plan})
	w.kernel.kick = w.Kick
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	w.rest()
	return w
}

// rest lets the loop finish what it can do at once.
func (*world) rest() {
	time.Sleep(20 * time.Millisecond) // virtual: the settle time and no retry
	synctest.Wait()
}

func (w *world) wants(t *testing.T, objects ...datapath.Object) {
	t.Helper()
	for _, o := range objects {
		if !w.kernel.has(o) {
			t.Errorf("not there: %v", o)
		}
	}
}

func (w *world) lacks(t *testing.T, objects ...datapath.Object) {
	t.Helper()
	for _, o := range objects {
		if w.kernel.has(o) {
			t.Errorf("still there: %v", o)
		}
	}
}

func (w *world) causes() string {
	var out []string
	for _, p := range w.Problems() {
		out = append(out, p.Subject+": "+p.Cause)
	}
	return strings.Join(out, "\n")
}

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		w.wants(t, peers()...)
		if w.Applied() != 7 || len(w.Problems()) != 0 || len(w.Heals()) != 0 {
			t.Errorf("applied %d, problems %v, heals %v", w.Applied(), w.Problems(), w.Heals())
		}
	})
}

// TestHeal has one line for each thing that somebody may undo.
func TestHeal(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds datapath.Kinds
		undo  func(*fakeKernel)
		heals int
	}{
		{"route deleted", datapath.Of(datapath.KindRoute), del(route(2)), 1},
		{"route changed", datapath.Of(datapath.KindRoute), func(f *fakeKernel) { r := route(2); r.MTU = 1000; f.Put(r) }, 1},
		{"neighbour deleted", datapath.Of(datapath.KindNeigh), del(neigh), 1},
		{"forwarding entry deleted", datapath.Of(datapath.KindFDB), del(fdb), 1},
		{"address deleted", datapath.Of(datapath.KindAddr), del(fabric), 1},
		{"rule deleted", datapath.Of(datapath.KindRule), del(dropped), 1},
		{"ruleset flushed", datapath.Of(datapath.KindChain, datapath.KindSet, datapath.KindElement, datapath.KindRule), func(f *fakeKernel) { f.FlushRuleset() }, 4},
		{"device deleted, all told", datapath.AllKinds, del(vxlan), 4},
		{"device deleted, its routes untold", datapath.Of(datapath.KindLink), del(vxlan), 4},
		{"device set down, its routes untold", datapath.Of(datapath.KindLink), func(f *fakeKernel) {
			down := vxlan
			down.Down = true
			f.Put(down)
		}, 2},
		{"a stranger's rule in our table", datapath.Of(datapath.KindRule), func(f *fakeKernel) {
			f.Put(datapath.ForeignRule{Chain: "inpolicy", Handle: 9})
		}, 0},
		{"nothing at all", datapath.AllKinds, func(*fakeKernel) {}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := run(t, peers()...)
				defer w.stop()
				c.undo(w.kernel)
				w.Kick(c.kinds)
				w.rest()
				w.wants(t, peers()...)
				if n := len(w.kernel.State()); n != len(peers()) {
					t.Errorf("%d objects, want %d", n, len(peers()))
				}
				if got := w.Heals(); len(got) != c.heals {
					t.Errorf("heals %v, want %d", got, c.heals)
				}
				for _, h := range w.Heals() {
					if h.Took != 2*time.Millisecond {
						t.Errorf("%s took %v of virtual time, want the settle time", h.Step, h.Took)
					}
				}
			})
		})
	}
}

func del(objects ...datapath.Object) func(*fakeKernel) {
	return func(f *fakeKernel) { f.Hand(keysOf(objects...)...) }
}

func TestSlowLookFindsWhatNobodyTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		del(route(2))(w.kernel)
		time.Sleep(61 * time.Second)
		w.wants(t, route(2))
	})
}

func TestIdleLooksOnlyNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		time.Sleep(time.Hour)
		if looked, applied := w.kernel.counts(); looked > 3600/30+2 || applied != 1 {
			t.Errorf("%d looks and %d batches of steps in an hour", looked, applied)
		}
	})
}

func TestOwnEventsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{kernel: newFake(), plan: &plan{want: Want{Objects: peers(), Complete: true}}}
		w.kernel.own = true
		w.start(t)
		defer w.stop()
		looked, applied := w.kernel.counts()
		time.Sleep(10 * time.Second)
		if l, a := w.kernel.counts(); l != looked || a != applied {
			t.Errorf("%d more looks, %d more batches although nothing changed", l-looked, a-applied)
		}
		if looked > 3 {
			t.Errorf("%d looks to start", looked)
		}
	})
}

func TestNoPruneBeforeComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{kernel: newFake(), plan: &plan{want: Want{Objects: []datapath.Object{bridge, vxlan}}}}
		old := route(9)
		w.kernel.Put(vxlan, old)
		w.start(t)
		defer w.stop()
		w.wants(t, old, bridge)
		w.plan.set(func(p *Want) { p.Complete = true })
		w.Kick(0)
		w.rest()
		w.lacks(t, old)
	})
}

func TestKeptUntilItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, other := route(9), route(8)
		w := &world{kernel: newFake(), plan: &plan{want: Want{
			Objects: []datapath.Object{bridge, vxlan}, Complete: true,
			Keep: func(o datapath.Object) bool { return o == datapath.Object(kept) },
		}}}
		w.kernel.Put(vxlan, kept, other)
		w.start(t)
		defer w.stop()
		w.wants(t, kept)
		w.lacks(t, other)
		w.plan.set(func(p *Want) { p.Keep = nil })
		w.Kick(0)
		w.rest()
		w.lacks(t, kept)
	})
}

func TestFailingStepsDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		// n2's route cannot be removed; n3 comes at the same time.
		w.kernel.Fail(route(2).Key(), errRefused)
		w.plan.set(func(p *Want) {
			p.Objects = append(slices.DeleteFunc(peers(), func(o datapath.Object) bool { return o == datapath.Object(route(2)) }), route(3))
		})
		w.Kick(0)
		w.rest()
		w.wants(t, route(3))
		if got := w.causes(); !strings.HasPrefix(got, "route 10.42.2.0/24 metric 0: ") || !strings.HasSuffix(got, ": refused") || len(w.Problems()) != 1 {
			t.Errorf("problems %q", got)
		}
		// Events do not hasten it; its own time does, ever later.
		for range 50 {
			w.Kick(datapath.Of(datapath.KindRoute))
			w.rest()
		}
		if n := w.kernel.tries(route(2)); n > 4 {
			t.Errorf("%d tries in a second", n)
		}
		time.Sleep(5 * time.Minute)
		if n := w.kernel.tries(route(2)); n < 8 || n > 15 {
			t.Errorf("%d tries in five minutes", n)
		}
		w.kernel.Fail(route(2).Key(), nil)
		time.Sleep(time.Minute + 15*time.Second)
		w.lacks(t, route(2))
		if got := w.Problems(); len(got) != 0 {
			t.Errorf("problems %v", got)
		}
	})
}

// TestFailedAddFollowsItsUplink: what cannot be made because something is away
// is made as soon as events say that it may be back.
func TestFailedAddFollowsItsUplink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		w.kernel.Fail(route(2).Key(), errors.New("network is down"))
		del(route(2))(w.kernel)
		w.Kick(datapath.Of(datapath.KindRoute))
		time.Sleep(20 * time.Second) // retries are far apart by now
		w.kernel.Fail(route(2).Key(), nil)
		w.Kick(datapath.Of(datapath.KindLink))
		w.rest()
		w.wants(t, route(2))
	})
}

func TestOneBadElementHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		objects := peers()
		for _, a := range []string{"10.0.0.3", "10.0.0.4", "bad", "10.0.0.5", "10.0.0.6"} {
			objects = append(objects, element1(a))
		}
		w.kernel.Fail(element1("bad").Key(), errRefused)
		w.plan.set(func(p *Want) { p.Objects = objects })
		w.Kick(0)
		w.rest()
		w.wants(t, element1("10.0.0.3"), element1("10.0.0.4"), element1("10.0.0.5"), element1("10.0.0.6"))
		if got := w.causes(); !strings.HasPrefix(got, "element vtep4 { bad }: ") || len(w.Problems()) != 1 {
			t.Errorf("problems %q", got)
		}
	})
}

// TestOneBadChainHoldsUpNoOther: a chain's rules fail together, other chains and
// sets do not wait for them.
func TestOneBadChainHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		other := datapath.Chain{Name: "clampmss"}
		clamp := datapath.Rule{Chain: "clampmss", Do: [3]datapath.Action{{Verb: datapath.ClampMSS}}}
		bad := dropped
		bad.Index = 2
		w.kernel.Fail(bad.Key(), errRefused)
		w.plan.set(func(p *Want) { p.Objects = append(peers(), bad, other, clamp, element1("10.0.0.3")) })
		w.Kick(0)
		w.rest()
		w.wants(t, other, clamp, dropped, element1("10.0.0.3"))
		if got := w.Problems(); len(got) != 1 || got[0].Subject != "chain inpolicy" {
			t.Errorf("problems %v", got)
		}
		w.kernel.Fail(bad.Key(), nil)
		time.Sleep(time.Second)
		w.wants(t, bad)
		if got := w.Problems(); len(got) != 0 {
			t.Errorf("problems %v", got)
		}
	})
}

// TestRandomWalk: whatever was wanted before, whatever somebody does by hand and
// whatever fails for a while, the loop ends where a fresh start would.
func TestRandomWalk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			w := run(t)
			defer w.stop()
			var last datapath.State
			for step := range rapid.IntRange(1, 4).Draw(rt, "steps") {
				last = kerneltest.State(rt, fmt.Sprint("state", step))
				objects := slices.Collect(maps.Values(last))
				w.plan.set(func(p *Want) { p.Objects = objects })
				w.Kick(0)
				keys := slices.SortedFunc(maps.Keys(last), compareKeys)
				hit := rapid.SliceOfN(rapid.SampledFrom(keys), 0, 3).Draw(rt, "hit")
				if rapid.Bool().Draw(rt, "fails") {
					for _, k := range hit {
						w.kernel.Fail(k, errRefused)
					}
				}
				w.rest()
				w.kernel.Hand(hit...)
				for _, k := range hit {
					w.Kick(datapath.Of(k.Kind))
				}
				w.rest()
				for _, k := range hit {
					w.kernel.Fail(k, nil)
				}
			}
			time.Sleep(3 * time.Minute) // virtual: every retry comes
			if ops := datapath.Diff(last, w.kernel.State()); len(ops) > 0 {
				rt.Errorf("left to do: %v", ops)
			}
			if got := w.Problems(); len(got) > 0 {
				rt.Errorf("problems %v", got)
			}
		})
	})
}

func compareKeys(a, b datapath.Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.ID, b.ID))
}

// TestFight: somebody undoes a route whenever it is made.
func TestFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		undo := func() {
			w.kernel.Hand(route(2).Key())
			w.Kick(datapath.Of(datapath.KindRoute))
		}
		w.kernel.locked(func() { w.kernel.undo = undo })
		w.kernel.Hand(route(2).Key())
		w.Kick(datapath.Of(datapath.KindRoute))
		time.Sleep(time.Minute)
		if n := w.kernel.tries(route(2)); n > burst+65 {
			t.Errorf("%d tries in a minute", n)
		}
		const said = "route 10.42.2.0/24 metric 0: somebody undoes it again and again, more than "
		began := time.Now().Add(-time.Minute).Unix()
		for range 20 { // it is one problem, which stands: not a new one at each second
			got := w.Problems()
			if len(got) != 1 || !strings.HasPrefix(got[0].Subject+": "+got[0].Cause, said) || got[0].SinceUnix > began+1 {
				t.Errorf("problems %v", got)
			}
			time.Sleep(777 * time.Millisecond)
		}
		w.kernel.locked(func() { w.kernel.undo = nil })
		time.Sleep(3 * time.Second)
		w.wants(t, route(2))
		if got := w.causes(); !strings.Contains(got, said+"64 times") {
			t.Errorf("problems %q", got)
		}
		time.Sleep(calm * time.Second)
		if got := w.Problems(); len(got) != 0 {
			t.Errorf("problems %v", got)
		}
	})
}

// TestHandsMayUndoOften: a person, or a test, who deletes one thing thirty
// times sees it healed each time.
func TestHandsMayUndoOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		for range 30 {
			del(route(2))(w.kernel)
			w.Kick(datapath.Of(datapath.KindRoute))
			w.rest()
			w.wants(t, route(2))
		}
	})
}

func TestPlanFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		w.plan.fail(errRefused)
		del(route(2))(w.kernel)
		w.Kick(datapath.Of(datapath.KindRoute))
		w.rest()
		w.wants(t, peers()...)
		if got := w.causes(); got != "plan: refused" {
			t.Errorf("problems %q", got)
		}
		w.plan.fail(nil)
		w.plan.set(func(p *Want) { p.Revision = 8 })
		time.Sleep(time.Minute)
		if w.Applied() != 8 || len(w.Problems()) != 0 {
			t.Errorf("applied %d, problems %v", w.Applied(), w.Problems())
		}
	})
}

func TestPlanContradictsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		other := route(2)
		other.MTU = 1000
		w.plan.set(func(p *Want) { p.Parts = [][]datapath.Object{{other}} })
		w.Kick(0)
		w.rest()
		w.wants(t, route(2))
		if got := w.causes(); !strings.Contains(got, "two producers want different things") || !strings.Contains(got, "mtu 1000") {
			t.Errorf("problems %q", got)
		}
	})
}

func TestKernelNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{kernel: newFake(), plan: &plan{want: Want{Objects: peers(), Complete: true, Revision: 7}}}
		w.kernel.unseen = errRefused
		w.start(t)
		defer w.stop()
		time.Sleep(10 * time.Second)
		if looked, applied := w.kernel.counts(); looked > 12 || applied != 0 {
			t.Errorf("%d looks, %d batches of a kernel that cannot be seen", looked, applied)
		}
		if got := w.causes(); got != "kernel: cannot be looked at: refused" || w.Applied() != 0 {
			t.Errorf("applied %d, problems %q", w.Applied(), got)
		}
		w.kernel.locked(func() { w.kernel.unseen = nil })
		time.Sleep(30 * time.Second)
		w.wants(t, peers()...)
	})
}

func TestDriftTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		del(route(2))(w.kernel)
		ops, err := w.Drift(t.Context())
		if err != nil || len(ops) != 1 || ops[0].String() != "+ "+route(2).String() {
			t.Errorf("drift %v, %v", ops, err)
		}
		w.lacks(t, route(2))
	})
}
