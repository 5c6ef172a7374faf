package kernel_test

import (
	"context"
	"crypto/ecdh"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/weft-net/weft/agent/datapath"
)

// meshed are n peers of slot 0 with two prefixes and an endpoint each.
func meshed(b *testing.B, n int) []datapath.Object {
	b.Helper()
	out := make([]datapath.Object, 0, n)
	for i := range n {
		seed := make([]byte, 32)
		binary.BigEndian.PutUint32(seed, uint32(i+1))
		k, err := ecdh.X25519().NewPrivateKey(seed)
		if err != nil {
			b.Fatal(err)
		}
		hi, lo := byte(i>>8), byte(i)
		out = append(out, datapath.WGPeer{
			Dev: datapath.WGLink0, Peer: datapath.WGKey(k.PublicKey().Bytes()),
			Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16, hi, lo}), 51820),
			Allowed: datapath.AllowedText([]netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + hi, lo, 0}), 24),
				pfx(fmt.Sprintf("fd42:0:0:%x::/64", i+1)),
			}),
		})
	}
	return out
}

// bare is wireguard-go and nothing else: a device that is configured by a call.
type bare struct {
	b   *testing.B
	dev *device.Device
}

func openBare(b *testing.B) bare {
	b.Helper()
	link, err := tun.CreateTUN("bare0", 1420)
	if err != nil {
		b.Fatal(err)
	}
	d := device.NewDevice(link, conn.NewDefaultBind(), &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	b.Cleanup(d.Close)
	return bare{b, d}
}

func (r bare) set(text string) {
	r.b.Helper()
	if err := r.dev.IpcSet(text); err != nil {
		r.b.Fatal(err)
	}
}

func uapi(p datapath.WGPeer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "public_key=%x\nendpoint=%v\nreplace_allowed_ips=true\n", p.Peer[:], p.Endpoint)
	for _, a := range strings.Split(p.Allowed, ",") {
		fmt.Fprintf(&b, "allowed_ip=%s\n", a)
	}
	return b.String()
}

// BenchmarkWireGuardApply takes a device from nothing to 1,000 peers: looked at,
// compared and applied by us, and in turns wireguard-go alone. Both ends of the socket
// are in this process.
func BenchmarkWireGuardApply(b *testing.B) {
	w, alone := openWG(b), openBare(b)
	key := fmt.Sprintf("private_key=%064x\n", 1<<62)
	peers := meshed(b, 1000)
	var all strings.Builder
	for _, p := range peers {
		all.WriteString(uapi(p.(datapath.WGPeer)))
	}
	link := merge(b, []datapath.Object{wgLink(0, 1)})
	want := merge(b, append([]datapath.Object{wgLink(0, 1)}, peers...))
	converge(b, w.Kernel, link)
	alone.set(key)
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		alone.set(all.String())
		theirs += time.Since(start)
		alone.set("replace_peers=true\n")

		start = time.Now()
		apply(b, w, want)
		ours += time.Since(start)
		apply(b, w, link)
	}
	b.ReportMetric(float64(ours.Microseconds())/1e3/float64(b.N), "weft-ms/apply")
	b.ReportMetric(float64(theirs.Microseconds())/1e3/float64(b.N), "wireguard-go-ms/apply")
	b.ReportMetric(float64(ours)/float64(theirs), "ratio")
}

func apply(b *testing.B, w wg, want datapath.State) {
	b.Helper()
	ctx := context.Background()
	have, err := w.Observe(ctx, datapath.Of(datapath.KindLink, datapath.KindWGPeer))
	if err != nil {
		b.Fatal(err)
	}
	ops := datapath.Diff(want, have)
	for i, err := range w.Apply(ctx, ops) {
		if err != nil {
			b.Fatal(ops[i], err)
		}
	}
}

// BenchmarkWireGuardEndpoint is one endpoint of 1,000 that changes: the step alone, as
// the loop takes it when its memory of the device stands, and in turns wireguard-go
// alone.
func BenchmarkWireGuardEndpoint(b *testing.B) {
	w, ctx := openWG(b), context.Background()
	alone := openBare(b)
	peers := meshed(b, 1000)
	var all strings.Builder
	for _, p := range peers {
		all.WriteString(uapi(p.(datapath.WGPeer)))
	}
	converge(b, w.Kernel, merge(b, append([]datapath.Object{wgLink(0, 1)}, peers...)))
	alone.set(fmt.Sprintf("private_key=%064x\n", 1<<62) + all.String())
	var ours, theirs time.Duration
	var used [2]float64 // CPU time in µs, by both ends of the socket
	old := peers[500].(datapath.WGPeer)
	for i := 0; b.Loop(); i++ {
		next := old
		next.Endpoint = netip.AddrPortFrom(old.Endpoint.Addr(), uint16(1024+i%60000))
		text := fmt.Sprintf("public_key=%x\nendpoint=%v\n", next.Peer[:], next.Endpoint)
		began, start := cpu(b), time.Now()
		alone.set(text)
		theirs += time.Since(start)
		used[1] += cpu(b) - began

		began, start = cpu(b), time.Now()
		if err := w.Apply(ctx, []datapath.Op{{Old: old, New: next}})[0]; err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		used[0] += cpu(b) - began
		old = next
	}
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "weft-µs/change")
	b.ReportMetric(float64(theirs.Microseconds())/float64(b.N), "wireguard-go-µs/change")
	b.ReportMetric(used[0]/float64(b.N), "weft-cpu-µs/change")
	b.ReportMetric(used[1]/float64(b.N), "wireguard-go-cpu-µs/change")
}

// BenchmarkWireGuardLook is all that is seen of a device with 1,000 peers.
func BenchmarkWireGuardLook(b *testing.B) {
	w := openWG(b)
	converge(b, w.Kernel, merge(b, append([]datapath.Object{wgLink(0, 1)}, meshed(b, 1000)...)))
	b.Run("observe", func(b *testing.B) { observe(b, w.Kernel, datapath.Of(datapath.KindWGPeer)) })
	b.Run("status", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.WGPeers(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
