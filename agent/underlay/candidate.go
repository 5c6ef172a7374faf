package underlay

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// maxCandidates bounds the addresses of Candidates.
const maxCandidates = 12

// Candidates are the addresses at which peers may reach the node, the chosen ones
// first: then those of all devices that are up and carry no fabric, ours or another's.
// Nobody is known by them, so that one too many costs a probe; temporary and deprecated
// addresses, and those of one link only, end too soon or mean too much.
func Candidates(host datapath.Host, chosen []intent.Underlay) []netip.Addr {
	var out []netip.Addr
	add := func(a netip.Addr) {
		if a.IsGlobalUnicast() && len(out) < maxCandidates && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, u := range chosen {
		add(u.Addr.Addr())
	}
	v := newView(host)
	for _, a := range host.Addrs {
		if v.link(a.Link).Up && !foreign(a.Link) && !ours(a.Link) && !a.Temporary && !a.Deprecated && !a.Tentative {
			add(a.Prefix.Addr())
		}
	}
	return out
}
