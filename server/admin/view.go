package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// view is what is known of the fabric's objects, put together entry by entry.
type view struct {
	nodes     map[string]*node
	plain     map[string]stored // ClusterConfigs and EgressPolicies, by key in the store
	endpoints map[string]kind.EndpointObservation
	servers   map[string]kind.ServerObservation // by run
	silent    time.Time                         // since when the store answers nobody: it is from memory; zero else
}

// stored is an object with its place in the store.
type stored struct {
	kind.Object
	revision int64 // of the last write; 0 if it is not there
}

// node is all that is known of one node.
type node struct {
	name      string
	object    stored
	lease     stored
	prefixes  []netip.Prefix
	report    kind.ReportSpec
	reported  int64 // revision of the report
	seen      kind.NodeObservation
	servers   map[string]kind.ServerObservation // the view's
	observed  bool
	endpoints int
	pause     kind.PauseSpec // zero: none

	remembered bool // it was not read now
}

// Prefixes of the store that make up the objects of a kind.
var parts = map[string][]string{
	kind.ClusterConfig: {kind.Key(kind.ClusterConfig, "", "")},
	kind.Node:          {store.Intent, kind.ObservedNodes, kind.ObservedServers, kind.ObservedEndpoints},
	kind.Lease:         {store.Intent, kind.ObservedNodes, kind.ObservedServers, kind.ObservedEndpoints},
	kind.EgressPolicy:  {store.Intent},
	kind.Endpoint:      {kind.ObservedEndpoints},
}

func newView() *view {
	return &view{nodes: map[string]*node{}, plain: map[string]stored{}, endpoints: map[string]kind.EndpointObservation{}, servers: map[string]kind.ServerObservation{}}
}

// read fills a view with some parts of the store. revisions are those that each
// part was read at.
func (s *Server) read(ctx context.Context, prefixes []string) (v *view, revisions []int64, err error) {
	v = newView()
	for _, p := range prefixes {
		entries, rev, err := s.Store.List(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			v.take(e)
		}
		revisions = append(revisions, rev)
	}
	return v, revisions, nil
}

// ref names an object.
type ref struct{ kind, namespace, name string }

func (r ref) String() string {
	if r.namespace != "" {
		return r.kind + "/" + r.namespace + "/" + r.name
	}
	return r.kind + "/" + r.name
}

// take brings one entry into the view, or its deletion, and names the objects
// that it is part of. What cannot be read is reported by compile.
func (v *view) take(e store.Entry) []ref {
	if key, ok := strings.CutPrefix(e.Key, kind.ObservedEndpoints); ok {
		return v.takeEndpoint(key, e)
	}
	if key, ok := strings.CutPrefix(e.Key, kind.ObservedServers); ok {
		return v.takeServer(key, e)
	}
	if name, ok := strings.CutPrefix(e.Key, kind.ObservedNodes); ok {
		n := v.node(name)
		n.seen, n.observed = kind.NodeObservation{}, false
		if e.Value != nil {
			o, err := kind.DecodeObservation[kind.NodeObservation](e)
			n.seen, n.observed = o, err == nil
		}
		return []ref{{kind.Node, "", name}, {kind.Lease, "", name}}
	}
	k, namespace, name, ok := kind.ParseKey(e.Key)
	if !ok {
		return nil
	}
	o := decode(e)
	switch k {
	case kind.ClusterConfig, kind.EgressPolicy:
		if v.plain[e.Key] = o; o.revision == 0 {
			delete(v.plain, e.Key)
		}
		return []ref{{k, namespace, name}}
	case kind.Node:
		v.node(name).object = o
	case kind.Lease:
		v.node(name).takeLease(o)
	case kind.Report:
		v.node(name).takeReport(o)
	case kind.Pause:
		n := v.node(name)
		n.pause = kind.PauseSpec{}
		if o.revision > 0 && json.Unmarshal(o.Spec, &n.pause) != nil {
			n.pause = kind.PauseSpec{}
		}
	}
	return []ref{{kind.Node, "", name}, {kind.Lease, "", name}}
}

func (n *node) takeLease(o stored) {
	var spec kind.LeaseSpec
	if o.revision > 0 && json.Unmarshal(o.Spec, &spec) != nil {
		spec = kind.LeaseSpec{}
	}
	n.lease, n.prefixes = o, spec.Prefixes
}

func (n *node) takeReport(o stored) {
	n.report, n.reported = kind.ReportSpec{}, o.revision
	if o.revision > 0 && json.Unmarshal(o.Spec, &n.report) != nil {
		n.reported = 0
	}
}

// takeServer takes what a server says of all its streams: its nodes may be other
// than they were.
func (v *view) takeServer(key string, e store.Entry) (out []ref) {
	_, run, _ := strings.Cut(key, "/")
	delete(v.servers, run)
	if e.Value != nil {
		if o, err := kind.DecodeObservation[kind.ServerObservation](e); err == nil {
			v.servers[run] = o
		}
	}
	for name, n := range v.nodes {
		if n.seen.Run == run {
			out = append(out, ref{kind.Node, "", name}, ref{kind.Lease, "", name})
		}
	}
	return out
}

func (v *view) takeEndpoint(key string, e store.Entry) []ref {
	out := []ref{{kind.Node, "", kind.EndpointNode(key)}, {kind.Lease, "", kind.EndpointNode(key)}}
	n := v.node(kind.EndpointNode(key))
	if old, ok := v.endpoints[key]; ok {
		out = append(out, ref{kind.Endpoint, old.Namespace, key})
		delete(v.endpoints, key)
		n.endpoints--
	}
	if e.Value == nil {
		return out
	}
	o, err := kind.DecodeObservation[kind.EndpointObservation](e)
	if err != nil {
		return out
	}
	o.Key = key
	v.endpoints[key] = o
	n.endpoints++
	if r := (ref{kind.Endpoint, o.Namespace, key}); !slices.Contains(out, r) {
		out = append(out, r)
	}
	return out
}

func (v *view) node(name string) *node {
	n := v.nodes[name]
	if n == nil {
		n = &node{name: name, servers: v.servers}
		v.nodes[name] = n
	}
	return n
}

// decode reads a stored object of any kind. One that cannot be read has no spec:
// it can be applied whole, or deleted.
func decode(e store.Entry) stored {
	var spec json.RawMessage
	if e.Value == nil {
		return stored{}
	}
	o, err := kind.Decode(e.Value, &spec)
	if err != nil {
		k, namespace, name, _ := kind.ParseKey(e.Key)
		o = kind.Object{Kind: k, Metadata: kind.Metadata{Namespace: namespace, Name: name}}
	}
	return stored{o, e.Revision}
}

// is tells whether a node has joined; one that only holds a reservation has not.
func (n *node) is() bool { return n.object.revision > 0 || n.reported > 0 || n.observed }

// members lists the nodes that have joined, by name.
func (v *view) members() []*node {
	var out []*node
	for _, name := range slices.Sorted(maps.Keys(v.nodes)) {
		if n := v.nodes[name]; n.is() {
			out = append(out, n)
		}
	}
	return out
}

// created is when a node joined, in Unix seconds.
func (n *node) created() int64 {
	return cmp.Or(n.object.Metadata.CreatedUnix, n.lease.Metadata.CreatedUnix)
}

// labels of a node: an operator's word beats the node's own.
func (n *node) labels() map[string]string {
	out := maps.Clone(n.report.Labels)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, n.object.Metadata.Labels)
	return out
}

// States of a node.
const (
	ready    = "Ready"
	degraded = "Degraded" // it is there, and something is wrong
	away     = "Away"     // no server hears it; its data path goes on
	unknown  = "Unknown"  // the store answers nobody, and another server may hear it
)

// silence is how long an observation may be old before its node counts as away:
// the server that wrote it went without saying so. It renews them every minute.
const silence = 150 * time.Second

// health is how a node is now.
type health struct {
	push    kind.NodeObservation
	state   string
	inStep  bool
	live    bool // it has a stream to this server
	applied int64
}

// health asks the streams of this server first, then what servers wrote.
func (s *Server) health(n *node) health {
	seen := n.servers[n.seen.Run].Of(n.name, n.seen)
	h := health{push: seen}
	here := !seen.Gone && n.observed && s.Now().Sub(time.Unix(seen.HeardUnix, 0)) < silence
	wanted := seen.Revision
	// One that came and was sent away says nothing newer than what is stored.
	if live, ok := s.Hub.Status(n.name); ok && (live.Connected || !here && !live.Heard.IsZero()) {
		here, wanted = live.Connected, s.Hub.Revision()
		h.push, h.live = live.Observation(s.Hub.Epoch()), live.Connected
	}
	if h.push.Epoch == s.Hub.Epoch() { // a revision of another epoch says nothing
		h.applied = h.push.AppliedRevision
	}
	h.inStep = here && h.applied > 0 && h.applied >= wanted
	switch {
	case n.remembered && !h.live:
		h.state, h.inStep = unknown, false
	case !here:
		h.state = away
	case len(h.push.Problems)+len(h.push.ObjectErrors) > 0 || len(n.prefixes) == 0:
		h.state = degraded
	default:
		h.state = ready
	}
	return h
}
