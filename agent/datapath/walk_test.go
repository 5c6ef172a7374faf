package datapath_test

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// TestWalk: from any state to any state, each step alone is accepted, and the
// last ends where a fresh start ends. Between states somebody deletes things by
// hand.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := kerneltest.New("eth0")
		for i := range rapid.IntRange(1, 5).Draw(t, "states") {
			want := kerneltest.State(t, string(rune('a'+i)))
			ops := datapath.Diff(want, f.State())
			for _, op := range ops {
				if err := f.Apply(context.Background(), []datapath.Op{op})[0]; err != nil {
					t.Fatalf("%v\nof %v\nto\n%s", err, ops, kerneltest.Text(want))
				}
			}
			if left := datapath.Diff(want, f.State()); len(left) > 0 {
				t.Fatalf("left after all steps: %v", left)
			}
			keys := slices.SortedFunc(keysOf(f.State()), func(a, b datapath.Key) int {
				if a.ID < b.ID {
					return -1
				}
				return 1
			})
			for range rapid.IntRange(0, 2).Draw(t, "hand") {
				f.Hand(rapid.SampledFrom(keys).Draw(t, "key"))
			}
		}
	})
}

// TestWalkStale: what was seen may be older for some kinds than for others; it
// may take two looks, but not more.
func TestWalkStale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		f := kerneltest.New("eth0")
		want := kerneltest.State(t, "a")
		f.Apply(ctx, datapath.Diff(want, f.State()))
		remembered := f.State()
		keys := slices.SortedFunc(keysOf(remembered), func(a, b datapath.Key) int {
			if a.ID < b.ID {
				return -1
			}
			return 1
		})
		k := rapid.SampledFrom(keys).Draw(t, "key")
		f.Hand(k)
		// Only the kind that was touched is looked at.
		have := datapath.State{}
		for key, o := range remembered {
			if key.Kind != k.Kind {
				have[key] = o
			}
		}
		seen, _ := f.Observe(ctx, datapath.Of(k.Kind))
		for key, o := range seen {
			have[key] = o
		}
		f.Apply(ctx, datapath.Diff(want, have))
		if left := datapath.Diff(want, f.State()); len(left) > 0 {
			t.Fatalf("after %v was deleted, left: %v", k, left)
		}
	})
}

func keysOf(s datapath.State) func(func(datapath.Key) bool) {
	return func(yield func(datapath.Key) bool) {
		for k := range s {
			if !yield(k) {
				return
			}
		}
	}
}
