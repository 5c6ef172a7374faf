package reconcile

import (
	"fmt"
	"maps"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"pgregory.net/rapid"
)

// TestWantedForgets: whatever was planned before, what is wanted is what the last
// plan's parts hold together; every key that changed is open; a plan that
// contradicts itself changes nothing.
func TestWantedForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		object := rapid.Custom(func(t *rapid.T) datapath.Object {
			key, value := rapid.IntRange(0, 5).Draw(t, "key"), 0
			if rapid.IntRange(0, 19).Draw(t, "odd") == 0 {
				value = 1
			}
			return datapath.Sysctl{Path: fmt.Sprint(key), Value: fmt.Sprint(value)}
		})
		list := rapid.SliceOfN(object, 0, 3)
		var w wanted
		var lists [][]datapath.Object
		for range 8 {
			for i := range lists {
				switch rapid.IntRange(0, 4).Draw(t, "part") {
				case 0:
					lists[i] = list.Draw(t, "objects")
				case 1:
					lists[i] = append([]datapath.Object(nil), lists[i]...)
				case 2:
					lists[i] = lists[0]
				}
			}
			lists = append(lists, list.Draw(t, "objects"))
			if n := rapid.IntRange(0, len(lists)).Draw(t, "first"); rapid.Bool().Draw(t, "cut") {
				lists = lists[n:]
			}
			before := maps.Clone(w.state)
			open := newOpen()
			err := w.set(Want{Parts: lists}, open)
			want, conflict := datapath.Merge(lists...)
			if (err != nil) != (conflict != nil) {
				t.Fatalf("error %v, want %v", err, conflict)
			}
			if err != nil {
				want = before
			}
			if !maps.Equal(w.state, want) {
				t.Fatalf("want %v, got %v", want, w.state)
			}
			for k := range before {
				if _, is := open.keys[k]; before[k] != want[k] && !is {
					t.Fatalf("%v changed and is not open", k)
				}
			}
			for k := range want {
				if _, is := open.keys[k]; before[k] != want[k] && !is {
					t.Fatalf("%v changed and is not open", k)
				}
			}
		}
	})
}
