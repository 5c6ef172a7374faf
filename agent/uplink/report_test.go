package uplink

import (
	"net/netip"
	"slices"
	"testing"
)

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
