package admin

import (
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
)

// What is told of a pair instead of a rung: that nothing answers, that it has no way, and
// that neither of its nodes has said how it sends.
const (
	down    = "down"
	noRung  = "none"
	notTold = "not told yet"
)

// ladder are the rungs in the order in which they are told, the best first. One that
// is over a server by name comes where relayed is.
var ladder = []string{"direct", "vxlan", "wireguard", "punched", "relayed (node)", "relayed", "tailnet", down, noRung, notTold}

// height is the place of a rung on the ladder.
func height(rung string) int {
	if i := slices.Index(ladder, rung); i >= 0 {
		return i
	}
	if strings.HasPrefix(rung, "relayed") {
		return slices.Index(ladder, "relayed")
	}
	return len(ladder)
}

// judge is on which rung a pair is counted, by what its two ends say of their own
// sending, the lower-named first: on the worse of the two, for what is asked needs an
// answer. Where one has said nothing the other's word stands for both. All that tells of
// whole pairs asks it.
func judge(low, high string) string {
	switch {
	case low == "" && high == "":
		return notTold
	case low == "", high != "" && height(high) > height(low):
		return high
	}
	return low
}

// sends is what a node has said of its sending to each other node.
type sends struct {
	usual  string // empty: nothing
	others map[string]string
}

// sendsOf reads it. What one said whose agent now knows no such pairs is over.
func sendsOf(from intent.Peer, said kind.PathsObservation) sends {
	if from.NoMesh {
		return sends{}
	}
	out := sends{said.Usual, map[string]string{}}
	for _, name := range said.Down {
		out.others[name] = down
	}
	for _, r := range said.Others {
		for _, name := range r.Peers {
			out.others[name] = r.Rung
		}
	}
	return out
}

// to is on which rung the node sends to another; empty if it has said nothing.
func (w sends) to(peer string) string {
	if rung, ok := w.others[peer]; ok {
		return rung
	}
	return w.usual
}

// countRungs counts the pairs of a mesh. Each node names its peers on all rungs but one,
// so that the pairs which neither end names can be counted without a look at each: of
// 10,000 nodes there are 50 million. What is said of nodes that are gone counts nothing:
// all pairs together are never other than there are.
func countRungs(peers []intent.Peer, said map[string]kind.PathsObservation) map[string]int {
	out, before := map[string]int{}, map[string]int{} // before: nodes, by the usual rung
	at, all := make(map[string]int, len(peers)), make([]sends, len(peers))
	for i, p := range peers {
		at[p.Name], all[i] = i, sendsOf(p, said[p.Name])
		for low, n := range before {
			out[judge(low, all[i].usual)] += n
		}
		before[all[i].usual]++
	}
	done := map[[2]int]bool{}
	for i := range peers {
		for name := range all[i].others {
			k, there := at[name]
			low, high := min(i, k), max(i, k)
			if !there || i == k || done[[2]int{low, high}] {
				continue
			}
			done[[2]int{low, high}] = true
			out[judge(all[low].usual, all[high].usual)]--
			out[judge(all[low].to(peers[high].Name), all[high].to(peers[low].Name))]++
		}
	}
	return out
}
