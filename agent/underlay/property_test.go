package underlay

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// TestChooseHolds: over any history of a host, every address chosen is on the
// host or was chosen before, none is blemished, there is at most one a family,
// a choice is kept while the host does not change, and a node that had an
// address never has none.
func TestChooseHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var last []intent.Underlay
		for step := range rapid.IntRange(1, 5).Draw(t, "steps") {
			h := anyHost(t, fmt.Sprint("host", step))
			got, err := Choose(h, Config{Last: last})
			again, _ := Choose(h, Config{Last: got})
			switch {
			case !slices.Equal(got, again):
				t.Fatalf("chose %v, then %v of the same host", got, again)
			case len(got) == 0 && (len(last) > 0 || err == nil):
				t.Fatalf("nothing chosen after %v, error %v", last, err)
			case len(got) == 2 && got[0].Addr.Addr().Is4() == got[1].Addr.Addr().Is4(), len(got) > 2:
				t.Fatalf("chose %v: more than one of a family", got)
			}
			for _, u := range got {
				fresh := !slices.ContainsFunc(last, func(l intent.Underlay) bool { return l.Addr == u.Addr && l.Device == u.Device })
				if fresh && !offered(h, u) {
					t.Fatalf("chose %v, which nobody offers", u)
				}
			}
			last = got
		}
	})
}

// offered tells whether a host has an address that may be taken unasked.
func offered(h datapath.Host, u intent.Underlay) bool {
	return slices.ContainsFunc(h.Addrs, func(a datapath.HostAddr) bool {
		return a.Prefix == u.Addr && a.Link == u.Device && !a.Temporary && !a.Deprecated && !a.Tentative && !foreign(a.Link)
	})
}

func anyHost(t *rapid.T, label string) datapath.Host {
	var h datapath.Host
	for i, name := range []string{"eth0", "eth1", "docker0"} {
		if !rapid.Bool().Draw(t, label+name) {
			continue
		}
		h.Links = append(h.Links, datapath.HostLink{Index: i + 1, Name: name, MTU: 1500, Up: rapid.Bool().Draw(t, label+name+"up")})
		for j, p := range []string{fmt.Sprintf("10.%d.0.1/24", i), fmt.Sprintf("10.%d.0.2/24", i), fmt.Sprintf("10.%d.0.9/32", i), fmt.Sprintf("2001:db8:%d::1/64", i)} {
			if !rapid.Bool().Draw(t, fmt.Sprint(label, name, "addr", j)) {
				continue
			}
			flaw := rapid.IntRange(0, 7).Draw(t, fmt.Sprint(label, name, "flaw", j))
			h.Addrs = append(h.Addrs, datapath.HostAddr{
				Link: name, Prefix: netip.MustParsePrefix(p), Temporary: flaw == 1, Deprecated: flaw == 2, Tentative: flaw == 3, Secondary: flaw == 4,
			})
		}
		for _, is4 := range []bool{true, false} {
			if rapid.Bool().Draw(t, fmt.Sprint(label, name, "default", is4)) {
				h.Defaults = append(h.Defaults, datapath.HostDefault{Link: name, Is4: is4})
			}
		}
	}
	return h
}
