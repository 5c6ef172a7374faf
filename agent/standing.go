package agent

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/intent"
)

// standing is what was planned of pairs.
type standing struct {
	node    intent.Node
	choices map[string]mesh.Choice
}

// down is what is told, instead of its rung, of a pair in which nothing answers.
const down = "down"

// word is how a pair is told to stand.
func word(c mesh.Choice, dead bool) string {
	if dead {
		return down
	}
	if via := c.Peers[c.Slot].Via.Server; c.Rung == mesh.ByServer && via != "" {
		return c.Rung.String() + " (" + via + ")"
	}
	return c.Rung.String()
}

// summary is where the pairs of a plan stand.
func summary(n intent.Node, choices map[string]mesh.Choice, silent []string) uplink.Paths {
	if !n.Cluster.Meshed() {
		return uplink.Paths{}
	}
	s := uplink.Paths{Epoch: n.Epoch, Revision: n.Revision, Leaving: len(n.Cluster.Receive) > 0, Rungs: map[string]uint32{}}
	self, _ := n.Self()
	on := map[string][]string{}
	for _, peer := range n.Peers {
		c, ok := choices[peer.Name]
		if peer.Name == n.Name || len(peer.Lease) == 0 || !ok {
			continue
		}
		s.Rungs[c.Rung.String()]++
		_, dead := slices.BinarySearch(silent, peer.Name)
		if dead {
			s.Down = append(s.Down, peer.Name)
		}
		told := word(c, dead)
		on[told] = append(on[told], peer.Name)
		if left(n.Cluster, self, peer, c) {
			s.Old = append(s.Old, peer.Name)
		}
	}
	s.Usual, s.Others = usual(on)
	return s
}

// usual is the rung of the most peers, and who is on the others: on none first, for there
// is a bound on names.
func usual(on map[string][]string) (most string, others []uplink.On) {
	lost := func(rung string) int {
		if rung == down || rung == mesh.None.String() {
			return 0
		}
		return 1
	}
	for _, rung := range slices.Sorted(maps.Keys(on)) {
		if most == "" || len(on[rung]) > len(on[most]) {
			most = rung
		}
	}
	for rung, peers := range on {
		if rung != most {
			others = append(others, uplink.On{Rung: rung, Peers: peers})
		}
	}
	slices.SortFunc(others, func(a, b uplink.On) int {
		return cmp.Or(cmp.Compare(lost(a.Rung), lost(b.Rung)), strings.Compare(a.Rung, b.Rung))
	})
	return most, others
}
