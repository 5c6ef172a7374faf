package agent

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/mesh"
)

// TestPairsExposed: a line a pair of each, and none of what is not known.
func TestPairsExposed(t *testing.T) {
	var b bytes.Buffer
	exposeFamilies(&b, pairFamilies([]mesh.Explanation{
		{Peer: "n2", Rung: mesh.WireGuard, RTT: 1500 * time.Microsecond, Loss: 0.25, MTU: 1420, Handshake: time.Unix(1795325217, 0)},
		{Peer: "n3", Rung: mesh.None, Down: true},
	}))
	conventions(t, b.String())
	const want = `# HELP weft_agent_pair_rung Rung on which a peer is sent to: 0 none, 1 direct, 2 VXLAN, 3 WireGuard, 4 punched, 5 over a node, 6 over a server. Of at most 256 peers, as the next.
# TYPE weft_agent_pair_rung gauge
weft_agent_pair_rung{peer="n2"} 3
weft_agent_pair_rung{peer="n3"} 0
# HELP weft_agent_pair_up 1 while a peer answers by the way on which it is sent to.
# TYPE weft_agent_pair_up gauge
weft_agent_pair_up{peer="n2"} 1
weft_agent_pair_up{peer="n3"} 0
# HELP weft_agent_pair_rtt_seconds Round trip of probes to a peer.
# TYPE weft_agent_pair_rtt_seconds gauge
weft_agent_pair_rtt_seconds{peer="n2"} 0.0015
# HELP weft_agent_pair_loss_ratio Share of the last probes to a peer that were lost.
# TYPE weft_agent_pair_loss_ratio gauge
weft_agent_pair_loss_ratio{peer="n2"} 0.25
weft_agent_pair_loss_ratio{peer="n3"} 0
# HELP weft_agent_pair_mtu_bytes MTU of the path to a peer.
# TYPE weft_agent_pair_mtu_bytes gauge
weft_agent_pair_mtu_bytes{peer="n2"} 1420
# HELP weft_agent_pair_handshake_timestamp_seconds When WireGuard last shook hands with a peer that is sent to through it, Unix time.
# TYPE weft_agent_pair_handshake_timestamp_seconds gauge
weft_agent_pair_handshake_timestamp_seconds{peer="n2"} 1.795325217e+09
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
