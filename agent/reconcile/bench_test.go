package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/overlay"
	"github.com/weft-net/weft/proto/intent"
)

// fleet is what a dual-stack node with so many VXLAN peers wants.
func fleet(peers int) []datapath.Object {
	n := overlay.Node{VTEP: intent.MAC{2, 0x57}}
	n.Intent = intent.Node{Name: "n0000", Cluster: intent.Cluster{
		CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Backend: intent.VXLAN, VNI: 4096, VXLANPort: 8472,
	}}
	for i := range peers + 1 {
		hi, lo := byte(i>>8), byte(i)
		n.Intent.Peers = append(n.Intent.Peers, intent.Peer{
			Name: fmt.Sprintf("n%04d", i), VTEP: intent.MAC{2, 0x57, 0, 0, hi, lo},
			Lease: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, hi, lo, 0}), 24),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x42, 6: hi, 7: lo}), 64),
			},
			Underlay: []intent.Underlay{{Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, hi, lo}), 16), Device: "eth0", MTU: 1500}},
		})
	}
	n.Underlay = n.Intent.Peers[0].Underlay
	objects, _ := overlay.Objects(n)
	return objects
}

// mirror takes every step and observes nothing: the loop's own cost is left.
type mirror struct{ state datapath.State }

func (m mirror) Observe(_ context.Context, kinds datapath.Kinds) (datapath.State, error) {
	out := datapath.State{}
	for k, o := range m.state {
		if kinds.Has(k.Kind) {
			out[k] = o
		}
	}
	return out, nil
}

func (m mirror) Apply(_ context.Context, ops []datapath.Op) []error {
	for _, op := range ops {
		if op.New == nil {
			delete(m.state, op.Key())
		} else {
			m.state[op.Key()] = op.New
		}
	}
	return make([]error, len(ops))
}

// BenchmarkLoop is what the loop itself costs, on Run's goroutine, with so many
// peers: a turn that finds nothing, the same with a plan made anew, the heal of
// one route, and the Sync of one pod among a hundred.
func BenchmarkLoop(b *testing.B) {
	for _, peers := range []int{10, 100, 1000} {
		base := fleet(peers)
		pods := func() (out []datapath.Object) {
			for i := range 100 {
				out = append(out, podObjects(i)...)
			}
			return out
		}
		m := mirror{datapath.State{}}
		want := Want{Objects: base, Parts: [][]datapath.Object{pods()}, Complete: true}
		l := New(Config{Kernel: m, Plan: func(context.Context) (Want, error) { return want, nil }})
		ctx := context.Background()
		l.turn(ctx, true)
		name := func(what string) string { return fmt.Sprintf("%s/peers=%d", what, peers) }
		b.Run(name("idle"), func(b *testing.B) {
			for b.Loop() {
				l.turn(ctx, true)
			}
		})
		b.Run(name("slow-look"), func(b *testing.B) {
			for b.Loop() {
				l.dirty.Store(uint32(datapath.AllKinds))
				l.turn(ctx, false)
			}
		})
		b.Run(name("replan"), func(b *testing.B) {
			for b.Loop() {
				want.Objects = append([]datapath.Object(nil), base...)
				l.turn(ctx, true)
			}
		})
		b.Run(name("heal"), func(b *testing.B) {
			key := datapath.Route{Dst: netip.MustParsePrefix("10.0.5.0/24")}.Key()
			for b.Loop() {
				delete(m.state, key)
				clear(l.past)
				l.dirty.Store(uint32(datapath.Of(datapath.KindRoute)))
				l.turn(ctx, true)
				if m.state[key] == nil {
					b.Fatal("not healed")
				}
			}
		})
		b.Run(name("sync"), func(b *testing.B) {
			keys := keysOf(podObjects(7)...)
			for b.Loop() {
				want.Parts = [][]datapath.Object{pods()}
				r := request{ctx: ctx, keys: keys, done: make(chan error, 1)}
				l.sync(ctx, []request{r})
				if err := <-r.done; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
