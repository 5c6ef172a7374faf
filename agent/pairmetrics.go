package agent

import (
	"maps"
	"slices"
)

// mostPairs bounds the peers that have lines of their own among the metrics: of a
// larger fabric the first by name do, so that which they are does not change.
const mostPairs = 256

// families tell where pairs stand that choose their way; nothing while none does.
func (p *pairs) families() []family {
	at := p.at()
	if at == nil {
		return nil
	}
	choices := at.Choices()
	rtt, loss, mtu, rung := map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]float64{}
	names := slices.Sorted(maps.Keys(choices))
	for _, name := range names[:min(len(names), mostPairs)] {
		e, ok := at.Explain(name)
		if !ok {
			continue
		}
		rung[name], mtu[name], loss[name] = float64(e.Rung), float64(e.MTU), e.Loss
		if e.RTT > 0 {
			rtt[name] = e.RTT.Seconds()
		}
	}
	return []family{
		{"weft_agent_pair_rung", "Rung on which a peer is sent to: 0 none, 1 direct, 2 VXLAN, 3 WireGuard, 4 punched, 5 over a node, 6 over a server. Of at most 256 peers, as the next.", "peer", rung},
		{"weft_agent_pair_rtt_seconds", "Round trip of probes to a peer.", "peer", rtt},
		{"weft_agent_pair_loss_ratio", "Share of the last probes to a peer that were lost.", "peer", loss},
		{"weft_agent_pair_mtu_bytes", "MTU of the path to a peer.", "peer", mtu},
	}
}
