package adopt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
)

// Word is what one agent carries.
type Word struct {
	Self    kind.Claim // of itself
	Epoch   string     // that it holds; empty: nothing
	Cluster []byte     // ClusterIntent that it holds; nil: none
	Peers   []kind.Claim
}

// Plan is a store as agents know it.
type Plan struct {
	Config      kind.ClusterConfigSpec
	Nodes       []kind.Claim // by name
	Differences []string     // what agents did not agree about, in sentences
}

// ErrNothing is what a plan from no words is.
var ErrNothing = errors.New("adopt: no agent carries an intent: there is nothing to rebuild a store from; restore a backup, or start a fabric anew")

// Make makes a plan of what agents said. It refuses words of one revision that
// contradict each other: then somebody has to choose.
func Make(words []Word) (Plan, error) {
	var p Plan
	epoch := commonEpoch(words)
	config, err := p.cluster(words, epoch)
	if err != nil {
		return Plan{}, err
	}
	p.nodes(words, epoch)
	if len(p.Nodes) == 0 {
		return Plan{}, ErrNothing
	}
	p.Config, err = spec(config, p.Nodes)
	return p, err
}

// commonEpoch is the epoch that most agents hold.
func commonEpoch(words []Word) string {
	counts := map[string]int{}
	best := ""
	for _, w := range words {
		if w.Epoch == "" {
			continue
		}
		counts[w.Epoch]++
		if counts[w.Epoch] > counts[best] || counts[w.Epoch] == counts[best] && w.Epoch < best {
			best = w.Epoch
		}
	}
	return best
}

// cluster is what most agents, and of these the youngest word, say holds for all.
func (p *Plan) cluster(words []Word, epoch string) (intent.Cluster, error) {
	var best Word
	for _, w := range words {
		if w.Epoch != epoch || w.Cluster == nil {
			continue
		}
		if best.Cluster != nil && w.Self.Revision == best.Self.Revision && !bytes.Equal(w.Cluster, best.Cluster) {
			return intent.Cluster{}, fmt.Errorf("adopt: nodes %s and %s hold different settings of the cluster at revision %d; stop the agent that is wrong, and start again with --adopt",
				best.Self.Node, w.Self.Node, w.Self.Revision)
		}
		if best.Cluster == nil || w.Self.Revision > best.Self.Revision {
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

// nodes settles who has what.
func (p *Plan) nodes(words []Word, epoch string) {
	type said struct {
		kind.Claim
		own bool
		by  string
	}
	var all []said
	for _, w := range words {
		age := w.Self.Revision
		if w.Epoch != epoch {
			age = -1 // of an epoch that is over
		}
		own := w.Self
		own.Revision = age
		all = append(all, said{own, true, w.Self.Node})
		for _, c := range w.Peers {
			c.Revision = age
			all = append(all, said{c, false, w.Self.Node})
		}
	}
	slices.SortStableFunc(all, func(a, b said) int {
		if a.own != b.own {
			if a.own {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.Revision, a.Revision), cmp.Compare(a.Node, b.Node), cmp.Compare(a.by, b.by))
	})
	labels := map[string]map[string]string{}
	for _, s := range all {
		if !s.own && labels[s.Node] == nil {
			labels[s.Node] = s.Labels
		}
	}
	for _, s := range all {
		s.Labels = labels[s.Node]
		p.add(s.Claim, s.own, s.by)
	}
	slices.SortFunc(p.Nodes, func(a, b kind.Claim) int { return cmp.Compare(a.Node, b.Node) })
}

// add takes a claim if its node has none yet and nobody has any of it.
func (p *Plan) add(c kind.Claim, own bool, by string) {
	if len(c.Prefixes) == 0 || intent.ValidName(c.Node) != nil {
		return
	}
	for _, n := range p.Nodes {
		if n.Node == c.Node {
			if !slices.Equal(n.Prefixes, c.Prefixes) {
				p.say("node %s says that %s has %v; %v counts", by, c.Node, c.Prefixes, n.Prefixes)
			}
			return
		}
	}
	for _, n := range p.Nodes {
		for _, q := range n.Prefixes {
			if slices.ContainsFunc(c.Prefixes, q.Overlaps) {
				p.say("node %s says that %s has %v, and %v is node %s's: %s gets no lease until one of the two is deleted", by, c.Node, c.Prefixes, q, n.Node, c.Node)
				return
			}
		}
	}
	if !own {
		p.say("node %s has not come; its lease %v is kept for it, as node %s knows it", c.Node, c.Prefixes, by)
	}
	p.Nodes = append(p.Nodes, c)
}

// spec is the ClusterConfig that compiles to what agents hold.
func spec(c intent.Cluster, nodes []kind.Claim) (kind.ClusterConfigSpec, error) {
	s := kind.ClusterConfigSpec{
		ClusterCIDRs: c.CIDRs, ServiceCIDRs: c.ServiceCIDRs, Backend: string(c.Backend), DirectRouting: c.DirectRouting,
		VNI: c.VNI, VXLANPort: c.VXLANPort, MTU: c.MTU, NonMasqueradeCIDRs: c.NonMasquerade,
		NodeCIDRMaskSize4: usualMask(nodes, true), NodeCIDRMaskSize6: usualMask(nodes, false),
	}
	for _, mode := range []string{"auto", "always", "never"} {
		s.Masquerade = mode
		if again, err := compile.Cluster(s); err == nil && slices.Equal(again.Masquerade, c.Masquerade) {
			s = s.WithDefaults()
			return s, s.Validate()
		}
	}
	return s, fmt.Errorf("adopt: no mode of masquerade makes of %v what agents hold: %v", c.CIDRs, c.Masquerade)
}

// usualMask is the length of most leases of a family; 0 if there are none.
func usualMask(nodes []kind.Claim, is4 bool) int {
	counts := map[int]int{}
	best := 0
	for _, n := range nodes {
		for _, p := range n.Prefixes {
			if p.Addr().Is4() != is4 {
				continue
			}
			counts[p.Bits()]++
			if counts[p.Bits()] > counts[best] {
				best = p.Bits()
			}
		}
	}
	return best
}

// Objects are the plan as a store holds it, by key.
func (p Plan) Objects(now time.Time) (map[string][]byte, error) {
	out := map[string][]byte{}
	put := func(k string, meta kind.Metadata, spec any) error {
		b, err := kind.Encode(k, meta, spec)
		out[kind.Key(k, "", meta.Name)] = b
		return err
	}
	errs := []error{put(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName, CreatedUnix: now.Unix()}, p.Config)}
	for _, n := range p.Nodes {
		meta := kind.Metadata{Name: n.Node, CreatedUnix: now.Unix()}
		labelled := meta
		labelled.Labels = n.Labels
		errs = append(errs,
			put(kind.Lease, meta, kind.LeaseSpec{Node: n.Node, Prefixes: n.Prefixes}),
			put(kind.Node, labelled, kind.NodeSpec{}),
			put(kind.Report, kind.Metadata{Name: n.Node}, n.Report))
	}
	return out, errors.Join(errs...)
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
