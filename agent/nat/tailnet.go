package nat

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// tailnetIndex is the place of these rules among those of a family.
const tailnetIndex = 50

// subnetMark is what tailscaled puts on packets from its device that it has the host
// forward, so that it may masquerade them (--snat-subnet-routes, which is on unless an
// operator says otherwise; tailscale.com/util/linuxfw).
const subnetMark = "0x40000/0xff0000"

// tailnet keeps the addresses of pods and nodes that come through a tailnet: what is
// for the node's own lease loses the mark by which tailscaled would masquerade it. For
// all else that this node is a router to, the operator's setting stands. This chain
// comes before tailscaled's, and the mark is set in the forward hook before both.
func (p *plan) tailnet(f family) {
	if !p.Cluster.Tailnetted() {
		return
	}
	var rules []datapath.Rule
	for _, from := range slices.Concat(p.Cluster.CIDRs, intent.TailnetRanges()) {
		for _, to := range p.Lease {
			if f.has(from) && f.has(to) {
				rules = append(rules, rule("", with(datapath.SetMark, "0x0/0xff0000"), is(f.saddr, from.String()), is(f.daddr, masked(to))))
			}
		}
	}
	if len(rules) == 0 {
		return
	}
	chain := "tailnet" + f.suffix
	p.add(datapath.Chain{Name: chain})
	p.rules(datapath.ChainMasquerade, tailnetIndex+f.first, rule("tailscaled masquerades no pod's peers", with(datapath.Jump, chain), is(datapath.NFProto, f.nfproto), is(datapath.Mark, subnetMark)))
	p.rules(chain, 0, rules...)
}

func masked(p netip.Prefix) string { return p.Masked().String() }
