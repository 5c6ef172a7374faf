package agent

import (
	"maps"
	"slices"

	"github.com/weft-net/weft/agent/mesh"
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
	var list []mesh.Explanation
	names := slices.Sorted(maps.Keys(at.Choices()))
	for _, name := range names[:min(len(names), mostPairs)] {
		if e, ok := at.Explain(name); ok {
			list = append(list, e)
		}
	}
	return pairFamilies(list)
}

// pairFamilies are a line a pair of each; what is not known of a pair has none.
func pairFamilies(list []mesh.Explanation) []family {
	of := func(value func(mesh.Explanation) (float64, bool)) map[string]float64 {
		out := map[string]float64{}
		for _, e := range list {
			if v, known := value(e); known {
				out[e.Peer] = v
			}
		}
		return out
	}
	return []family{
		{
			"weft_agent_pair_rung", "Rung on which a peer is sent to: 0 none, 1 direct, 2 VXLAN, 3 WireGuard, 4 punched, 5 over a node, 6 over a server. Of at most 256 peers, as the next.", "peer",
			of(func(e mesh.Explanation) (float64, bool) { return float64(e.Rung), true }),
		},
		{
			"weft_agent_pair_up", "1 while a peer answers by the way on which it is sent to.", "peer",
			of(func(e mesh.Explanation) (float64, bool) { return up(e), true }),
		},
		{
			"weft_agent_pair_rtt_seconds", "Round trip of probes to a peer.", "peer",
			of(func(e mesh.Explanation) (float64, bool) { return e.RTT.Seconds(), e.RTT > 0 }),
		},
		{
			"weft_agent_pair_loss_ratio", "Share of the last probes to a peer that were lost.", "peer",
			of(func(e mesh.Explanation) (float64, bool) { return e.Loss, true }),
		},
		{
			"weft_agent_pair_mtu_bytes", "MTU of the path to a peer.", "peer",
			of(func(e mesh.Explanation) (float64, bool) { return float64(e.MTU), e.MTU > 0 }),
		},
		{
			"weft_agent_pair_handshake_timestamp_seconds", "When WireGuard last shook hands with a peer that is sent to through it, Unix time.", "peer",
			of(func(e mesh.Explanation) (float64, bool) { return seconds(e.Handshake), !e.Handshake.IsZero() }),
		},
	}
}

func up(e mesh.Explanation) float64 {
	if e.Down {
		return 0
	}
	return 1
}

// rungs are how many pairs stand on each rung, or are down; none while no pair chooses.
func (p *pairs) rungs() map[string]float64 {
	out := map[string]float64{}
	at := p.at()
	if at == nil {
		return out
	}
	s, choices := at.Summary(), at.Choices()
	for rung, n := range s.Rungs {
		out[rung.String()] = float64(n)
	}
	for _, peer := range s.Silent {
		out[choices[peer].Rung.String()]--
		out[down]++
	}
	return out
}
