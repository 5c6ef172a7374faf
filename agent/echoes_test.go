package agent

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/agent/uplink"
)

func TestEchoes(t *testing.T) {
	a4, b4, a6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		name string
		echo uplink.Echo
		want []netip.Addr
	}{
		{"straight", uplink.Echo{Server: a4, Name: "192.0.2.1:7443"}, []netip.Addr{a4}},
		{"both families", uplink.Echo{Server: a6, Others: []netip.Addr{a4, b4}}, []netip.Addr{a6, a4}},
		{"by a proxy, to an address", uplink.Echo{Name: "192.0.2.1:7443", Others: []netip.Addr{b4, a6}}, []netip.Addr{a4, a6}},
		{"by a proxy, to a name", uplink.Echo{Name: "weft.example.org:7443", Others: []netip.Addr{a4}}, []netip.Addr{a4}},
		{"by a proxy, and nothing known", uplink.Echo{Name: "weft.example.org:7443"}, nil},
	} {
		if got := echoes(c.echo); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", c.name, got, c.want)
		}
	}
}
