package reconcile

import (
	"errors"
	"fmt"
	"net/netip"
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

// hangs is an error that blames the device.
type hangs struct{ error }

func (hangs) Culprit() datapath.Key { return datapath.Link{Name: datapath.WGLink0}.Key() }

// A device that does not answer is one problem, whichever of its peers was to be
// changed, and however often that was tried otherwise: nobody undoes anything.
func TestProblemsOfOneThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := datapath.Link{Name: datapath.WGLink0, Type: datapath.LinkWG, MTU: 1420, WG: datapath.WG{Port: 51820}}
		peer := func(i, port int) datapath.WGPeer {
			return datapath.WGPeer{Dev: datapath.WGLink0, Peer: datapath.WGKey{byte(i)}, Allowed: "10.42.1.0/24", Endpoint: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(port))}
		}
		all := func(port int) []datapath.Object {
			return []datapath.Object{link, peer(1, port), peer(2, port), peer(3, port)}
		}
		plan := &plan{want: Want{Objects: all(1), Complete: true, Revision: 7}}
		w := &world{kernel: newFake(), plan: plan}
		w.start(t)
		defer w.stop()
		time.Sleep(time.Second)
		if got := w.Problems(); len(got) > 0 {
			t.Fatalf("problems are %+v", got)
		}
		for i := range 3 {
			w.kernel.Fail(peer(i+1, 1).Key(), hangs{errors.New("it does not answer: its process 7 hangs; kill -9 7, and the device is made anew")})
			w.kernel.Hand(peer(i+1, 1).Key()) // as one that does not answer looks
		}
		for i := range 200 { // endpoints are chosen anew all the time, and the device is looked at
			plan.set(func(want *Want) { want.Objects = all(i + 2) })
			w.Kick(datapath.Of(datapath.KindWGPeer))
			time.Sleep(50 * time.Millisecond)
		}
		got := w.Problems()
		const cause = "it does not answer: its process 7 hangs (and 3 objects that rest on it)"
		if len(got) != 1 || got[0].Subject != "link weft-wg0" || got[0].Cause != cause || got[0].Remedy != "kill -9 7, and the device is made anew; it is tried again by itself" {
			t.Errorf("problems are %+v", got)
		}
		for i := range 3 {
			w.kernel.Fail(peer(i+1, 1).Key(), nil)
		}
		time.Sleep(time.Second)
		if got := w.Problems(); len(got) > 0 {
			t.Errorf("when it answers again problems are %+v", got)
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
