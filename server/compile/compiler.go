package compile

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Compiler holds what is compiled and brings it up to date event by event. It is
// not safe for concurrent use.
type Compiler struct {
	cluster  piece[intent.Cluster]
	carriage piece[intent.Cluster] // of which only the carriers are known
	peers    map[string]*pieces
	pauses   map[string]*piece[intent.Pause]  // by node
	egress   map[string]*piece[egress.Policy] // by name
	objects  map[ref]Object
	problems map[string]Problem // by key in the store
}

// piece is the last good value of a stored object.
type piece[T any] struct {
	value T
	rev   int64 // of the entry; 0 if there is none
}

// pieces are what a peer is made of.
type pieces struct {
	node, lease, report piece[intent.Peer]
}

type ref struct{ collection, key string }

// New returns a Compiler of an empty store.
func New() *Compiler {
	return &Compiler{peers: map[string]*pieces{}, pauses: map[string]*piece[intent.Pause]{}, egress: map[string]*piece[egress.Policy]{}, objects: map[ref]Object{}, problems: map[string]Problem{}}
}

// Apply takes changes in, in their order, and returns the objects that are other
// than before, sorted by collection and key, each once. Its cost is that of what
// the events touch; only another order of families touches all peers.
func (c *Compiler) Apply(events []store.Event) []Change {
	dirty := map[ref]int64{} // to the revision that touched it last
	families := intent.Families(c.cluster.value.CIDRs)
	for _, e := range events {
		if r, ok := c.take(e); ok {
			dirty[r] = max(dirty[r], e.Revision)
		}
	}
	if now := intent.Families(c.cluster.value.CIDRs); !slices.Equal(families, now) {
		rev := dirty[ref{intent.CollectionCluster, intent.KeyCluster}]
		for name := range c.peers {
			r := ref{intent.CollectionPeers, intent.PeerKey(name)}
			dirty[r] = max(dirty[r], rev)
		}
	}
	return c.rebuild(dirty)
}

// take reads one event and says which object rests on it.
func (c *Compiler) take(e store.Event) (ref, bool) {
	k, namespace, name, ok := kind.ParseKey(e.Key)
	if !ok || namespace != "" || name == "" {
		return ref{}, false
	}
	if k == kind.ClusterConfig || k == kind.Carriage {
		if name != kind.DefaultName {
			return ref{}, false
		}
		if k == kind.Carriage {
			keep(c, &c.carriage, e, carriage)
		} else {
			keep(c, &c.cluster, e, cluster)
		}
		return ref{intent.CollectionCluster, intent.KeyCluster}, true
	}
	read := func(parse func(store.Entry, string) (intent.Peer, error)) func(store.Entry) (intent.Peer, error) {
		return func(e store.Entry) (intent.Peer, error) { return parse(e, name) }
	}
	switch k {
	case kind.Pause:
		one(c, c.pauses, name, e, func(e store.Entry) (intent.Pause, error) { return pause(e, name) })
		return ref{intent.CollectionPause, intent.PauseKey(name)}, true
	case kind.EgressPolicy:
		one(c, c.egress, name, e, func(e store.Entry) (egress.Policy, error) { return egressPolicy(e, name) })
		return ref{intent.CollectionEgress, intent.EgressKey(name)}, true
	case kind.Node:
		keep(c, &c.peer(name).node, e, read(node))
	case kind.Lease:
		keep(c, &c.peer(name).lease, e, read(lease))
	case kind.Report:
		keep(c, &c.peer(name).report, e, read(report))
	default:
		return ref{}, false
	}
	return ref{intent.CollectionPeers, intent.PeerKey(name)}, true
}

// one keeps an event's value among those of its kind, by name.
func one[T any](c *Compiler, all map[string]*piece[T], name string, e store.Event, parse func(store.Entry) (T, error)) {
	p := all[name]
	if p == nil {
		p = &piece[T]{}
		all[name] = p
	}
	keep(c, p, e, parse)
	if p.rev == 0 {
		delete(all, name)
	}
}

func (c *Compiler) peer(name string) *pieces {
	p := c.peers[name]
	if p == nil {
		p = &pieces{}
		c.peers[name] = p
	}
	return p
}

// keep puts an event's value in its place. One that cannot be read is a problem
// and changes nothing.
func keep[T any](c *Compiler, place *piece[T], e store.Event, parse func(store.Entry) (T, error)) {
	if e.Value == nil {
		*place = piece[T]{}
		delete(c.problems, e.Key)
		return
	}
	v, err := parse(e.Entry)
	if err != nil {
		c.problems[e.Key] = Problem{
			Key:   e.Key,
			Cause: "stored object cannot be used: " + err.Error(),
			Do:    "apply the object again, or delete it; until then its last good value holds",
		}
		return
	}
	*place = piece[T]{value: v, rev: e.Revision}
	delete(c.problems, e.Key)
}

func (c *Compiler) rebuild(dirty map[ref]int64) []Change {
	var out []Change
	for r, rev := range dirty {
		old, had := c.objects[r]
		o, has := c.object(r)
		switch {
		case !has && had:
			delete(c.objects, r)
			old.Value, old.Revision = nil, rev
			out = append(out, Change{Object: old, Gone: true})
		case has && (!had || old.Audience != o.Audience || !bytes.Equal(old.Value, o.Value)):
			o.Revision = rev
			c.objects[r] = o
			out = append(out, Change{Object: o})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return compare(a.Object.Object, b.Object.Object) })
	return out
}

// object makes one object of its pieces, if they are all there.
func (c *Compiler) object(r ref) (Object, bool) {
	o := Object{Object: intent.Object{Collection: r.collection, Key: r.key}}
	if r.collection == intent.CollectionCluster {
		value := c.cluster.value
		if by := c.carriage; by.rev > 0 {
			value = value.By(by.value.Carrier())
			value.Receive, value.Behind = by.value.Receive, by.value.Behind
		}
		o.Value = intent.EncodeCluster(value)
		return o, c.cluster.rev > 0
	}
	switch r.collection {
	case intent.CollectionPause:
		name := strings.TrimPrefix(r.key, intent.PauseKey(""))
		p := c.pauses[name]
		if p == nil {
			return o, false
		}
		o.Value, o.Audience = intent.EncodePause(p.value), ToNode(name)
		return o, true
	case intent.CollectionEgress:
		p := c.egress[strings.TrimPrefix(r.key, intent.EgressKey(""))]
		if p == nil {
			return o, false
		}
		o.Value = p.value.Encode()
		return o, true
	}
	name := strings.TrimPrefix(r.key, intent.PeerKey(""))
	p := c.peers[name]
	if p.node.rev == 0 && p.lease.rev == 0 && p.report.rev == 0 {
		delete(c.peers, name)
		return o, false
	}
	if p.lease.rev == 0 || p.report.rev == 0 {
		return o, false
	}
	labels := maps.Clone(p.report.value.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, p.node.value.Labels) // an operator's word beats the node's
	o.Value = intent.EncodePeer(intent.Peer{
		Name:     name,
		Lease:    intent.InOrder(intent.Families(c.cluster.value.CIDRs), p.lease.value.Lease),
		Underlay: p.report.value.Underlay,
		VTEP:     p.report.value.VTEP,
		Labels:   labels,
		Draining: p.lease.value.Draining,

		Slots: p.report.value.Slots, Candidates: p.report.value.Candidates,
		NAT4: p.report.value.NAT4, NAT6: p.report.value.NAT6, Relays: p.report.value.Relays, Preshared: p.report.value.Preshared, NoDevices: p.report.value.NoDevices, NoMesh: p.report.value.NoMesh,
	})
	return o, true
}

// Objects returns all objects, sorted by collection and key.
func (c *Compiler) Objects() []intent.Object {
	out := make([]intent.Object, 0, len(c.objects))
	for _, o := range c.objects {
		out = append(out, o.Object)
	}
	slices.SortFunc(out, compare)
	return out
}

// Problems returns the stored objects that cannot be read, sorted by key.
func (c *Compiler) Problems() []Problem {
	return slices.SortedFunc(maps.Values(c.problems), func(a, b Problem) int { return cmp.Compare(a.Key, b.Key) })
}
