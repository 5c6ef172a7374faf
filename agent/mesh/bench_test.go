package mesh

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// mesh1000 is a node with so many peers that answer at once, in virtual time.
type mesh1000 struct {
	m    *Machine
	in   Input
	now  time.Time
	next time.Time
	acts int
}

func newMesh(peers int) *mesh1000 {
	b := &mesh1000{now: epoch}
	b.in.Intent = intent.Node{Name: "a", Cluster: intent.Cluster{
		CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Backend: intent.Auto, Encryption: intent.EncryptUntrusted,
	}}
	for i := range peers + 1 {
		name := fmt.Sprintf("n%04d", i)
		if i == 0 {
			name = "a"
		}
		addr := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
		b.in.Intent.Peers = append(b.in.Intent.Peers, intent.Peer{
			Name: name, Labels: map[string]string{intent.SiteLabel: name}, NAT4: intent.NATNone, Relays: []string{"s1"},
			Lease:      []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)},
			Underlay:   []intent.Underlay{{Addr: netip.PrefixFrom(addr, 24), Device: "eth0", MTU: 1500}},
			Slots:      []intent.Slot{{Key: intent.Key{byte(i >> 8), byte(i), 1}, Port: 51820}},
			Candidates: []intent.Candidate{{Addr: netip.AddrPortFrom(addr, 51820), Source: intent.FromInterface}},
		})
	}
	b.in.Relays = []string{"s1"}
	b.m = New("a", b.now)
	b.m.Set(b.in, b.now)
	b.step()
	return b
}

// run lets a time pass in which all probes are answered at once.
func (b *mesh1000) run(d time.Duration) {
	for end := b.now.Add(d); !b.next.After(end); {
		b.now = b.next
		b.step()
	}
}

func (b *mesh1000) step() {
	var acts []Action
	acts, b.next = b.m.Step(b.now)
	for _, a := range acts {
		b.acts++
		switch a := a.(type) {
		case Probe:
			b.m.Event(Answered{ID: a.ID, Peer: a.Peer, Slot: a.Slot, From: a.To, Via: a.Via, RTT: time.Millisecond}, b.now)
		case ProbeInner:
			b.m.Event(Inner{ID: a.ID, Peer: a.Peer, Over: a.Over, Size: a.Size, RTT: time.Millisecond}, b.now)
		}
	}
	b.m.Choices()
}

// BenchmarkIdle is what a second costs with so many peers, all well.
func BenchmarkIdle(b *testing.B) {
	for _, peers := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			w := newMesh(peers)
			w.run(2 * time.Minute)
			w.acts = 0
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				w.run(time.Second)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(peers), "ns/peer/s")
			b.ReportMetric(float64(w.acts)/float64(b.N), "probes/s")
		})
	}
}

// BenchmarkSet is one peer of so many that has a new address.
func BenchmarkSet(b *testing.B) {
	for _, peers := range []int{100, 1000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			w := newMesh(peers)
			w.run(time.Minute)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				in := w.in
				in.Intent.Peers = append([]intent.Peer(nil), in.Intent.Peers...)
				p := &in.Intent.Peers[1+i%peers]
				p.Candidates = []intent.Candidate{{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 51820), Source: intent.FromInterface}}
				w.in = in
				w.m.Set(in, w.now)
				w.step()
			}
		})
	}
}

// With 1,000 peers that all are well, few probes go out, and a Step does only what is
// due.
func TestThousandPeersAreCheap(t *testing.T) {
	w := newMesh(1000)
	w.run(5 * time.Minute)
	if n := w.m.Summary().Rungs[WireGuard]; n != 1000 {
		t.Fatalf("%d of 1000 pairs stand on WireGuard", n)
	}
	w.acts = 0
	w.run(time.Minute)
	if per := w.acts / 60; per > 1000 {
		t.Errorf("%d probes a second", per)
	}
	same := w.m.Choices()
	w.run(time.Second)
	if fmt.Sprintf("%p", same) != fmt.Sprintf("%p", w.m.Choices()) {
		t.Error("another map of choices although nothing has changed")
	}
}
