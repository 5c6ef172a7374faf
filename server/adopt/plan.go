package adopt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
)

// Word is what one agent carries.
type Word struct {
	Self    kind.Claim // of itself
	Epoch   string     // that it holds; empty: nothing
	Cluster []byte     // ClusterIntent that it holds; nil: none
	Peers   []kind.Claim
}

// Past is what is known of the epochs of the store that was lost.
type Past struct {
	Epochs map[string]uint64 // ordinals, by id
	Losses []uint64          // ordinals of those that began with a store that had been lost
	Began  uint64            // ordinal of the one that begins now
}

// Plan is a store as agents know it.
type Plan struct {
	Config      kind.ClusterConfigSpec
	Nodes       []Node   // by name
	Differences []string // what agents did not agree about, in sentences
	past        Past
	claimed     map[netip.Prefix]claimed
}

// claimed is who has a prefix, and from when that is known.
type claimed struct {
	node string
	at   Point
}

// Node is what is known of one.
type Node struct {
	kind.Claim
	Words map[netip.Prefix]Point // from when it is known that it has them
	Lost  []netip.Prefix         // that it may carry, and another has by a younger word
	Word  Point                  // by which it carries those
	Own   bool                   // as it said itself
}

// Point is one of the store's history, as store.Words has it.
type Point struct {
	Age      int64 `json:"age"` // of the epoch: twice its ordinal
	Revision int64 `json:"revision"`
}

// ErrNothing is what a plan from no words is.
var ErrNothing = errors.New("adopt: no agent carries an intent: there is nothing to rebuild a store from; restore a backup, or start a fabric anew")

// Make makes a plan of what agents said. It refuses words of one revision that
// contradict each other: then somebody has to choose.
func Make(words []Word, past Past) (Plan, error) {
	p := Plan{past: past, claimed: map[netip.Prefix]claimed{}}
	ages := past.ages(words)
	config, err := p.cluster(words, ages)
	if err != nil {
		return Plan{}, err
	}
	p.nodes(words, ages)
	if len(p.Nodes) == 0 {
		return Plan{}, ErrNothing
	}
	p.Config, err = spec(config, p.Nodes)
	return p, err
}

// ages are those of epochs, as leases are weighed: one that is not known is younger
// than all that are. Of several such that which most agents hold counts.
func (p Past) ages(words []Word) map[string]int64 {
	out, counts := map[string]int64{}, map[string]int{}
	common := ""
	for _, w := range words {
		if ordinal, known := p.Epochs[w.Epoch]; known {
			out[w.Epoch] = 2 * int64(ordinal)
			continue
		}
		if out[w.Epoch] = -1; w.Epoch == "" {
			continue
		}
		counts[w.Epoch]++
		if counts[w.Epoch] > counts[common] || counts[w.Epoch] == counts[common] && w.Epoch < common {
			common = w.Epoch
		}
	}
	if common != "" {
		out[common] = 2*int64(p.Began) - 1
	}
	return out
}

// cluster is what the youngest word says holds for all.
func (p *Plan) cluster(words []Word, ages map[string]int64) (intent.Cluster, error) {
	var best Word
	for _, w := range words {
		if w.Cluster == nil {
			continue
		}
		if best.Cluster != nil && w.Epoch == best.Epoch && w.Self.Revision == best.Self.Revision && !bytes.Equal(w.Cluster, best.Cluster) {
			return intent.Cluster{}, fmt.Errorf("adopt: nodes %s and %s hold different settings of the cluster at revision %d; stop the agent that is wrong, and start again with --adopt",
				best.Self.Node, w.Self.Node, w.Self.Revision)
		}
		if best.Cluster == nil || cmp.Or(cmp.Compare(ages[w.Epoch], ages[best.Epoch]), cmp.Compare(w.Self.Revision, best.Self.Revision)) > 0 {
			best = w
		}
	}
	if best.Cluster == nil {
		return intent.Cluster{}, ErrNothing
	}
	for _, w := range words {
		if w.Cluster != nil && !bytes.Equal(w.Cluster, best.Cluster) {
			p.say("node %s holds older settings of the cluster (revision %d; %s's of revision %d count)", w.Self.Node, w.Self.Revision, best.Self.Node, best.Self.Revision)
		}
	}
	return intent.DecodeCluster(best.Cluster)
}

func (p *Plan) say(format string, args ...any) {
	p.Differences = append(p.Differences, fmt.Sprintf(format, args...))
}

// said is what one agent says of one node.
type said struct {
	kind.Claim
	own bool
	by  string
	at  Point
}

// nodes settles who has what: of several that are said to have a prefix, the one of
// the youngest word.
func (p *Plan) nodes(words []Word, ages map[string]int64) {
	var all []said
	for _, w := range words {
		at := Point{ages[w.Epoch], w.Self.Revision}
		all = append(all, said{w.Self, true, w.Self.Node, at})
		for _, c := range w.Peers {
			if c.Node != w.Self.Node {
				all = append(all, said{c, false, w.Self.Node, at})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b said) int {
		return cmp.Or(cmp.Compare(b.at.Age, a.at.Age), cmp.Compare(b.at.Revision, a.at.Revision), cmp.Compare(mine(b), mine(a)),
			cmp.Compare(a.Node, b.Node), cmp.Compare(a.by, b.by))
	})
	nodes := map[string]*Node{}
	labels := map[string]map[string]string{}
	for _, s := range all {
		if len(s.Prefixes) == 0 || intent.ValidName(s.Node) != nil {
			continue
		}
		if !s.own && labels[s.Node] == nil {
			labels[s.Node] = s.Labels
		}
		if nodes[s.Node] == nil {
			nodes[s.Node] = &Node{Claim: kind.Claim{Node: s.Node, Report: s.Report}, Words: map[netip.Prefix]Point{}}
			if !slices.ContainsFunc(words, func(w Word) bool { return w.Self.Node == s.Node }) {
				p.say("node %s has not come; its lease %v is kept for it, as node %s knows it", s.Node, s.Prefixes, s.by)
			}
		}
		p.add(nodes[s.Node], s)
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		nodes[name].Labels = labels[name]
		p.Nodes = append(p.Nodes, *nodes[name])
	}
}

func mine(s said) int {
	if s.own {
		return 1
	}
	return 0
}

// add gives a node what it is said to have, and nobody has by a younger word.
func (p *Plan) add(n *Node, s said) {
	if s.own {
		n.Report = s.Report // it knows best
	}
	for _, prefix := range s.Prefixes {
		if slices.Contains(n.Prefixes, prefix) {
			continue
		}
		var owner claimed
		for q, c := range p.claimed {
			if q.Overlaps(prefix) {
				owner = c
			}
		}
		switch {
		case owner.node == "":
			p.claimed[prefix] = claimed{n.Node, s.at}
			n.Prefixes, n.Words[prefix] = append(n.Prefixes, prefix), s.at
		case s.own:
			if !n.Own {
				n.Lost = nil
			}
			n.Lost, n.Word, n.Own = append(n.Lost, prefix), s.at, true
			p.say("node %s carries %v, and by a younger word that is node %s's: of what it carries it is told nothing until one of the two is deleted", s.by, prefix, owner.node)
		default:
			p.say("node %s says that %s has %v; by a younger word that is node %s's", s.by, s.Node, prefix, owner.node)
			if !n.Own && !slices.Contains(n.Lost, prefix) && p.past.across(s.at, owner.at) {
				if n.Lost = append(n.Lost, prefix); len(n.Lost) == 1 {
					n.Word = s.at // they come by age: of what follows none is younger
				}
			}
		}
	}
}

// across tells whether a store was lost between two points: then the younger may only
// repeat what was over before the older.
func (p Past) across(older, younger Point) bool {
	return slices.ContainsFunc(p.Losses, func(ordinal uint64) bool {
		first := 2*int64(ordinal) - 1 // of epochs that nobody knows
		return older.Age < first && first <= younger.Age
	})
}

// Missing are the nodes that somebody carries and that have not come.
func Missing(words []Word) []string {
	come := map[string]bool{}
	for _, w := range words {
		come[w.Self.Node] = true
	}
	var out []string
	for _, w := range words {
		for _, c := range w.Peers {
			if !come[c.Node] {
				come[c.Node] = true
				out = append(out, c.Node)
			}
		}
	}
	slices.Sort(out)
	return out
}
