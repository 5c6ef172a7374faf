package kernel_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// fabric is a node with n peers over VXLAN, both families inside.
func fabric(n int) []datapath.Object {
	out := append([]datapath.Object{
		datapath.Link{Name: datapath.FabricLink, Type: datapath.LinkBridge, MTU: 1450},
		datapath.Link{Name: datapath.VXLANLink4, Type: datapath.LinkVXLAN, MTU: 1450, VXLAN: datapath.VXLAN{VNI: 4096, Port: 8472, Local: addr("10.0.0.1")}},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("10.42.0.0/32")},
		datapath.Addr{Dev: datapath.FabricLink, Prefix: pfx("fd42::/128")},
		datapath.Set{Name: "vtep4", Type: "ipv4_addr"},
	}, datapath.BaseChains()...)
	for i := 1; i <= n; i++ {
		hi, lo := byte(i>>8), byte(i)
		mac := datapath.MAC{2, 0x57, 0, 0, hi, lo}
		v4 := netip.AddrFrom4([4]byte{10, 64 + hi, lo, 0})
		v6 := addr(fmt.Sprintf("fd42:0:0:%x::", i))
		vtep := netip.AddrFrom4([4]byte{172, 16, hi, lo})
		out = append(out,
			datapath.FDB{Dev: datapath.VXLANLink4, MAC: mac, Dst: vtep},
			datapath.Neigh{Dev: datapath.VXLANLink4, IP: v4, MAC: mac},
			datapath.Neigh{Dev: datapath.VXLANLink4, IP: v6, MAC: mac},
			datapath.Route{Dst: netip.PrefixFrom(v4, 24), Via: v4, Dev: datapath.VXLANLink4, OnLink: true, Src: addr("10.42.0.0")},
			datapath.Route{Dst: netip.PrefixFrom(v6, 64), Via: v6, Dev: datapath.VXLANLink4, OnLink: true, Src: addr("fd42::")},
			datapath.Element{Set: "vtep4", Elem: vtep.String()},
		)
	}
	return out
}

// cpu is what the process has used, in µs.
func cpu(b testing.TB) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(unix.TimevalToNsec(u.Utime)+unix.TimevalToNsec(u.Stime)) / 1e3
}

func BenchmarkObserve(b *testing.B) {
	names := []string{"sysctl", "link", "addr", "neigh", "fdb", "route", "set", "chain", "element", "rule"}
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			k := open(b)
			converge(b, k, merge(b, fabric(n)))
			for kind := datapath.KindSysctl; kind <= datapath.KindRule; kind++ {
				b.Run(names[kind], func(b *testing.B) { observe(b, k, datapath.Of(kind)) })
			}
			b.Run("all", func(b *testing.B) { observe(b, k, datapath.AllKinds) })
		})
	}
}

func observe(b *testing.B, k kerneltest.Kernel, kinds datapath.Kinds) {
	start := cpu(b)
	for b.Loop() {
		if _, err := k.Observe(context.Background(), kinds); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu(b)-start)/float64(b.N), "cpu-µs/op")
}

// BenchmarkApply takes a node from nothing to its peers, and back.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			k, ctx := open(b), context.Background()
			want := merge(b, fabric(n))
			up, down := datapath.Diff(want, datapath.State{}), datapath.Diff(datapath.State{}, want)
			start := cpu(b)
			for b.Loop() {
				for _, ops := range [][]datapath.Op{up, down} {
					for i, err := range k.Apply(ctx, ops) {
						if err != nil {
							b.Fatal(ops[i], err)
						}
					}
				}
			}
			b.ReportMetric((cpu(b)-start)/float64(b.N*(len(up)+len(down))), "cpu-µs/step")
		})
	}
}

func BenchmarkDiff(b *testing.B) {
	want := merge(b, fabric(1000))
	b.Run("equal", func(b *testing.B) {
		for b.Loop() {
			datapath.Diff(want, want)
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			datapath.Diff(want, datapath.State{})
		}
	})
}

// BenchmarkAttach gives the CPU time of each half; the wall time of Detach is the
// kernel waiting for a grace period.
func BenchmarkAttach(b *testing.B) {
	k, ctx := open(b), context.Background()
	a := attachment(podNetns(b, "bench"))
	var attach, detach float64
	for b.Loop() {
		start := cpu(b)
		if _, err := k.Attach(ctx, a); err != nil {
			b.Fatal(err)
		}
		middle := cpu(b)
		if err := k.Detach(ctx, a.HostDev); err != nil {
			b.Fatal(err)
		}
		attach, detach = attach+middle-start, detach+cpu(b)-middle
	}
	b.ReportMetric(attach/float64(b.N), "attach-cpu-µs/op")
	b.ReportMetric(detach/float64(b.N), "detach-cpu-µs/op")
}

// BenchmarkElement is one element more, and gone again, in a hash set of 50,000.
func BenchmarkElement(b *testing.B) {
	k, ctx := open(b), context.Background()
	objects := []datapath.Object{datapath.Set{Name: "s", Type: "ipv4_addr"}}
	for i := range 50_000 {
		objects = append(objects, datapath.Element{Set: "s", Elem: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()})
	}
	ops := datapath.Diff(merge(b, objects), datapath.State{})
	if err := k.Apply(ctx, ops)[0]; err != nil {
		b.Fatal(err)
	}
	e := datapath.Element{Set: "s", Elem: "192.0.2.1"}
	for b.Loop() {
		for _, op := range []datapath.Op{{New: e}, {Old: e}} {
			if err := k.Apply(ctx, []datapath.Op{op})[0]; err != nil {
				b.Fatal(err)
			}
		}
	}
}
