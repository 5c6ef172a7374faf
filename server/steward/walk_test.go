package steward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"pgregory.net/rapid"
)

// TestNothingIsLost walks over edits of the ClusterConfig, drains, nodes that hear
// and speak late, pods that come and go, and looks of two stewards. Whatever
// happens: leases never overlap, each pod's address lies in its node's stored
// lease, no two pods have one address, and what is reserved lies in the ranges.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t)
		t.Repeat(map[string]func(*rapid.T){
			"join":   w.join,
			"hear":   w.hear,
			"add":    w.add,
			"del":    w.del,
			"say":    w.say,
			"arrive": w.arrive,
			"edit":   w.edit,
			"drain":  w.drain,
			"look":   w.look,
			"wait":   func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.IntRange(1, 900).Draw(t, "s")) * time.Second) },
			"":       w.check,
		})
	})
}

// mirror is the store itself, never late.
type mirror struct{ *storetest.Memory }

func (m mirror) Get(key string) (store.Entry, bool) {
	e, err := m.Memory.Get(context.Background(), key)
	return e, err == nil
}

func (m mirror) Subscribe(func(store.Batch)) ([]store.Entry, int64, func()) {
	entries, rev, _ := m.List(context.Background(), store.Intent)
	return entries, rev, func() {}
}

// agent is a node as far as this walk cares.
type agent struct {
	peer    intent.Peer
	cluster intent.Cluster
	known   int64 // revision
	pods    map[netip.Addr]bool
	said    [][]byte // on their way to the store
}

func (a *agent) shut() []netip.Prefix { return a.cluster.Shut(a.peer) }

type walk struct {
	store    *storetest.Memory
	alloc    *lease.Allocator
	stewards [2]*Steward
	agents   map[string]*agent
	now      time.Time
}

var walkNodes = []string{"a", "b", "c", "d"}

func newWalk(t *rapid.T) *walk {
	w := &walk{store: storetest.New(), agents: map[string]*agent{}, now: time.Unix(1_800_000_000, 0)}
	w.alloc = lease.New(lease.Config{Store: w.store, Now: func() time.Time { return w.now }})
	for i := range w.stewards {
		w.stewards[i] = New(Config{Epoch: "e", Leases: w.alloc, Mirror: mirror{w.store}, Store: w.store, Rest: time.Minute})
	}
	w.write(t, w.object(t, kind.ClusterConfig, kind.DefaultName, `{"clusterCIDRs": ["10.42.0.0/26"], "nodeCIDRMaskSizeIPv4": 29, "nodeCIDRMaskSizeIPv6": 125}`))
	return w
}

func (w *walk) object(t *rapid.T, k, name, spec string) kind.Object {
	o, err := kind.Given{Kind: k, Name: name, Spec: json.RawMessage(spec)}.Build()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// write does what an operator's apply does. It answers whether it was let.
func (w *walk) write(t *rapid.T, o kind.Object) bool {
	txn, err := w.alloc.Guard(t.Context(), []kind.Object{o}, nil)
	if err != nil {
		return false
	}
	b, err := kind.Encode(o.Kind, o.Metadata, o.Spec)
	if err != nil {
		t.Fatal(err)
	}
	txn.Then = append(txn.Then, store.Write{Key: kind.Key(o.Kind, "", o.Metadata.Name), Value: b})
	if _, err := w.store.Commit(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	return true
}

func (w *walk) put(t *rapid.T, key string, value []byte) {
	if _, err := w.store.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: value}}}); err != nil {
		t.Fatal(err)
	}
}

func (w *walk) pick(t *rapid.T) (string, *agent) {
	name := rapid.SampledFrom(walkNodes).Draw(t, "node")
	return name, w.agents[name]
}

func (w *walk) join(t *rapid.T) {
	name, a := w.pick(t)
	b, err := kind.Encode(kind.Report, kind.Metadata{Name: name}, kind.ReportSpec{})
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, kind.Key(kind.Report, "", name), b)
	if _, err := w.alloc.Acquire(t.Context(), name, nil); err != nil && !errors.Is(err, ipam.ErrFull) {
		t.Fatal(err)
	}
	if a == nil {
		w.agents[name] = &agent{pods: map[netip.Addr]bool{}}
	}
}

func (w *walk) stored(name string) (spec kind.LeaseSpec, ok bool) {
	e, ok := mirror{w.store}.Get(kind.Key(kind.Lease, "", name))
	if ok {
		_, _ = kind.Decode(e.Value, &spec)
	}
	return spec, ok
}

func (w *walk) config() (spec kind.ClusterConfigSpec) {
	e, _ := mirror{w.store}.Get(kind.Key(kind.ClusterConfig, "", kind.DefaultName))
	_, _ = kind.Decode(e.Value, &spec)
	return spec.WithDefaults()
}

// hear brings the newest intent to a node, which is on its disk then.
func (w *walk) hear(t *rapid.T) {
	name, a := w.pick(t)
	spec, ok := w.stored(name)
	if a == nil || !ok {
		return
	}
	a.peer, a.cluster, a.known = intent.Peer{Name: name, Lease: spec.Prefixes, Draining: spec.Draining}, intent.Cluster{CIDRs: w.config().ClusterCIDRs}, w.store.Revision()
}

func (w *walk) add(t *rapid.T) {
	name, a := w.pick(t)
	if a == nil {
		return
	}
	pool := ipam.Pool{Prefixes: slices.DeleteFunc(slices.Clone(a.peer.Lease), func(p netip.Prefix) bool { return slices.Contains(a.shut(), p) })}
	for _, is4 := range intent.Families(pool.Prefixes) {
		addr, err := pool.Pick(ipam.Request{Is4: is4, Now: w.now, Used: func(a2 netip.Addr) bool { return a.pods[a2] }})
		if err != nil {
			continue
		}
		a.pods[addr] = true
		w.observe(t, name, addr, true)
	}
}

func (w *walk) del(t *rapid.T) {
	name, a := w.pick(t)
	if a == nil || len(a.pods) == 0 {
		return
	}
	all := make([]netip.Addr, 0, len(a.pods))
	for addr := range a.pods {
		all = append(all, addr)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	addr := rapid.SampledFrom(all).Draw(t, "pod")
	delete(a.pods, addr)
	w.observe(t, name, addr, false)
}

// observe tells of a pod, or does not: observations are late.
func (w *walk) observe(t *rapid.T, name string, addr netip.Addr, there bool) {
	if rapid.IntRange(0, 3).Draw(t, "late") == 0 {
		return
	}
	var value []byte
	if there {
		value, _ = json.Marshal(kind.EndpointObservation{Addresses: []netip.Addr{addr}})
	}
	w.put(t, kind.ObservedEndpoint(name+"/"+addr.String()+"/eth0"), value)
}

// say has a node tell of its prefixes; it arrives some time later, in order.
func (w *walk) say(t *rapid.T) {
	_, a := w.pick(t)
	if a == nil || a.known == 0 {
		return
	}
	o := kind.PoolsObservation{Epoch: "e", Revision: a.known}
	for _, p := range a.peer.Lease {
		u := kind.PoolUse{Prefix: p, Usable: ipam.Pool{Prefixes: []netip.Prefix{p}}.Usable(p.Addr().Is4()), Closed: slices.Contains(a.shut(), p)}
		for addr := range a.pods {
			if p.Contains(addr) {
				u.Used++
			}
		}
		o.Pools = append(o.Pools, u)
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	a.said = append(a.said, b)
}

func (w *walk) arrive(t *rapid.T) {
	name, a := w.pick(t)
	if a != nil && len(a.said) > 0 {
		w.put(t, kind.ObservedPool(name), a.said[0])
		a.said = a.said[1:]
	}
}

func (w *walk) edit(t *rapid.T) {
	ranges := rapid.SampledFrom([]string{
		`"10.42.0.0/26"`, `"10.42.0.0/27"`, `"10.42.0.0/25"`, `"10.42.0.0/26", "fd42::/120"`, `"10.42.0.0/26", "fd42::/122"`,
		`"10.42.0.0/26", "10.52.0.0/27"`, `"10.52.0.0/26"`, `"fd42::/120", "10.42.0.0/25"`, `"fd42::/120"`, `"10.42.0.0/28"`,
	}).Draw(t, "ranges")
	w.write(t, w.object(t, kind.ClusterConfig, kind.DefaultName, `{"clusterCIDRs": [`+ranges+`], "nodeCIDRMaskSizeIPv4": 28, "nodeCIDRMaskSizeIPv6": 125}`))
}

func (w *walk) drain(t *rapid.T) {
	name, _ := w.pick(t)
	spec, ok := w.stored(name)
	if !ok {
		return
	}
	spec.Draining = nil
	if rapid.Bool().Draw(t, "undo") {
		spec.Draining = []netip.Prefix{rapid.SampledFrom(spec.Prefixes).Draw(t, "prefix")}
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, w.object(t, kind.Lease, name, string(raw)))
}

func (w *walk) look(t *rapid.T) {
	s := w.stewards[rapid.IntRange(0, 1).Draw(t, "steward")]
	if err := s.look(t.Context(), rapid.Bool().Draw(t, "news"), w.now); err != nil {
		t.Fatal(err)
	}
}

// check holds what must always be.
func (w *walk) check(t *rapid.T) {
	ranges := w.config().ClusterCIDRs
	owner := map[netip.Prefix]string{}
	for _, name := range walkNodes {
		spec, _ := w.stored(name)
		for _, p := range spec.Prefixes {
			for q, other := range owner {
				if q.Overlaps(p) {
					t.Fatalf("%v of %s overlaps %v of %s", p, name, q, other)
				}
			}
			owner[p] = name
			sameFamily := slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Addr().Is4() == p.Addr().Is4() })
			if sameFamily && !slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return ipam.Contains(r, p) }) {
				t.Fatalf("%v of %s is outside of %v", p, name, ranges)
			}
		}
	}
	pods := map[netip.Addr]string{}
	for _, name := range walkNodes {
		a := w.agents[name]
		if a == nil {
			continue
		}
		spec, _ := w.stored(name)
		for addr := range a.pods {
			if other := pods[addr]; other != "" {
				t.Fatalf("%v is a pod's on %s and on %s", addr, name, other)
			}
			pods[addr] = name
			if !slices.ContainsFunc(spec.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				t.Fatalf("pod %v of %s is in none of its prefixes: %s", addr, name, fmt.Sprint(spec))
			}
		}
	}
}
