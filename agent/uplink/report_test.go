package uplink

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/proto/intent"
)

// What a node says of its WireGuard devices is read by its peers as it was said, and
// each word of it makes another report.
func TestReportOfMesh(t *testing.T) {
	key := intent.Key{1}
	r := Report{Mesh: Mesh{
		Slots:      []intent.Slot{{Slot: 1, Key: key, Port: 51821, Leaving: true}},
		Candidates: []intent.Candidate{{Addr: netip.MustParseAddrPort("198.51.100.7:51821"), Slot: 1, Source: intent.FromEcho}},
		NAT4:       intent.NATEasy, NAT6: intent.NATBlocked, Relays: []string{"s2", "s1"},
	}}
	var p intent.Peer
	if err := intent.DecodeMesh(&p, r.wire(nil)); err != nil {
		t.Fatal(err)
	}
	if got := (Mesh{p.Slots, p.Candidates, p.NAT4, p.NAT6, p.Relays}); !got.equal(r.Mesh) {
		t.Errorf("said %+v, read %+v", r.Mesh, got)
	}
	for _, change := range []func(*Mesh){
		func(m *Mesh) { m.Slots = nil }, func(m *Mesh) { m.Candidates = nil }, func(m *Mesh) { m.NAT4 = intent.NATHard },
		func(m *Mesh) { m.NAT6 = "" }, func(m *Mesh) { m.Relays = []string{"s1", "s2"} },
	} {
		other := r
		change(&other.Mesh)
		if r.equal(other) {
			t.Errorf("%+v is taken for %+v", other.Mesh, r.Mesh)
		}
	}
}

// What a node says of dials through it is in its report, and another word of it is
// another report.
func TestReportOfEgress(t *testing.T) {
	r := Report{Announced: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}, HostPorts: []uint16{9100}}
	m := r.wire(nil)
	if !slices.Equal(m.GetAnnouncedPrefixes(), []string{"10.244.1.0/24"}) || !slices.Equal(m.GetHostPorts(), []uint32{9100}) {
		t.Errorf("it says %v", m)
	}
	for _, other := range []Report{{Announced: r.Announced}, {HostPorts: r.HostPorts}} {
		if r.equal(other) {
			t.Errorf("%v is taken for %v", other, r)
		}
	}
}
