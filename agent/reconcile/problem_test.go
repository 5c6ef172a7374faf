package reconcile

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"golang.org/x/sys/unix"
)

// A device that cannot be made is one problem, whatever was to rest on it.
func TestProblemsOfOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{kernel: newFake(), plan: &plan{want: Want{Objects: peers(), Complete: true, Revision: 7}}}
		link := datapath.Link{Name: datapath.VXLANLink4}
		w.kernel.Fail(link.Key(), fmt.Errorf("another VXLAN device has its VNI; remove it: ip -d link show type vxlan: %w", unix.EEXIST))
		w.start(t)
		defer w.stop()
		time.Sleep(time.Second)
		got := w.Problems()
		const cause = "another VXLAN device has its VNI: file exists (and 3 objects that rest on it)"
		if len(got) != 1 || got[0].Subject != "link weft-vx" || got[0].Cause != cause {
			t.Errorf("problems are %+v", got)
		}
	})
}

// What is the matter is said once, and what to do in its own place.
func TestSaid(t *testing.T) {
	op := datapath.Op{New: datapath.Link{Name: "weft-vx"}}
	for _, c := range []struct {
		err           error
		cause, remedy string
	}{
		{errors.New("refused"), "refused", "it is tried again by itself; remove what stands in the way"},
		{
			fmt.Errorf("a route of somebody else stands in the way; remove it: ip route del 10.42.1.0/24 proto static: %w", unix.EEXIST),
			"a route of somebody else stands in the way: file exists", "remove it: ip route del 10.42.1.0/24 proto static; it is tried again by itself",
		},
		{
			errors.New("a dummy device of somebody else bears this name; rename it or remove it: ip link delete weft-vx"),
			"a dummy device of somebody else bears this name", "rename it or remove it: ip link delete weft-vx; it is tried again by itself",
		},
	} {
		p := &past{op: op, err: fmt.Errorf("kernel: %v: %w", op, c.err)}
		if cause, remedy := p.said(); cause != c.cause || remedy != c.remedy {
			t.Errorf("got  %q, %q\nwant %q, %q", cause, remedy, c.cause, c.remedy)
		}
	}
}
