package reconcile

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/datapath"
)

// While healing is paused, what somebody did stays, told or not; what is wanted
// anew is made; afterwards all is as it should be.
func TestPauseLeavesWhatHandsDid(t *testing.T) {
	for _, c := range []struct {
		name      string
		kinds     datapath.Kinds
		undo      func(*fakeKernel)
		untouched bool
	}{
		{"route deleted", datapath.Of(datapath.KindRoute), del(route(2)), true},
		{"route changed", datapath.Of(datapath.KindRoute), func(f *fakeKernel) { r := route(2); r.MTU = 1000; f.Put(r) }, true},
		{"route deleted, untold", 0, del(route(2)), true},
		{"address deleted", datapath.Of(datapath.KindAddr), del(fabric), true},
		{"rule deleted", datapath.Of(datapath.KindRule), del(dropped), true},
		{"ruleset flushed", datapath.Of(datapath.KindChain, datapath.KindSet, datapath.KindElement, datapath.KindRule), func(f *fakeKernel) { f.FlushRuleset() }, true},
		{"device deleted, all told", datapath.AllKinds, del(vxlan), true},
		{"device deleted, its routes untold", datapath.Of(datapath.KindLink), del(vxlan), true},
		{"a stranger's rule in our table", datapath.Of(datapath.KindRule), func(f *fakeKernel) {
			f.Put(datapath.ForeignRule{Chain: "inpolicy", Handle: 9})
		}, true},
		{"nothing at all", datapath.AllKinds, func(*fakeKernel) {}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := run(t, peers()...)
				defer w.stop()
				w.Pause(true)
				c.undo(w.kernel)
				after := w.kernel.State()
				w.Kick(c.kinds)
				time.Sleep(2 * time.Minute) // slow looks too
				if now := w.kernel.State(); !maps.Equal(after, now) {
					t.Errorf("healed while paused:\n%v\nnot\n%v", now, after)
				}
				if got := w.Untouched() > 0; got != c.untouched {
					t.Errorf("%d objects are said to be untouched", w.Untouched())
				}
				if w.Applied() != 7 {
					t.Errorf("applied %d", w.Applied())
				}
				w.Pause(false)
				w.rest()
				w.wants(t, peers()...)
				if n := len(w.kernel.State()); n != len(peers()) || w.Untouched() != 0 {
					t.Errorf("%d objects, want %d; %d untouched", n, len(peers()), w.Untouched())
				}
			})
		})
	}
}

func TestPauseStillDoesWhatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, peers()...)
		defer w.stop()
		w.Pause(true)
		del(route(2))(w.kernel)
		w.Kick(datapath.Of(datapath.KindRoute))
		w.rest()
		w.plan.set(func(want *Want) { want.Objects = append(peers(), route(5)); want.Revision = 8 })
		w.Kick(0)
		w.rest()
		w.wants(t, route(5))
		w.lacks(t, route(2))
		if w.Applied() != 8 {
			t.Errorf("applied %d", w.Applied())
		}
		w.plan.set(func(want *Want) { want.Objects = append(peers(), route(5), route(6)) })
		if err := w.Sync(t.Context(), keysOf(route(6))); err != nil {
			t.Error(err)
		}
		w.wants(t, route(6))
		w.lacks(t, route(2))
	})
}
