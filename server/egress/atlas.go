package egress

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	rules "github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Kind is what an address is, as far as weft knows it.
type Kind string

// The kinds, in the order in which they are believed: a lease is this server's own
// word, the rest is what nodes say of themselves.
const (
	FabricAddress  Kind = "fabric address" // of a node: the first of its lease
	Leased         Kind = "lease"
	ServiceAddress Kind = "service"
	NodeAddress    Kind = "node address"
	Attached       Kind = "endpoint"
	Announced      Kind = "announced"
	Unleased       Kind = "cluster" // in a range of the cluster, and nobody's
	Elsewhere      Kind = "elsewhere"
	Named          Kind = "name" // no address: it is not known where it leads
)

// Place is what is known of a target.
type Place struct {
	Kind   Kind
	Prefix netip.Prefix // that says so; invalid of Elsewhere and Named
	Nodes  []string     // whose it is; several: each says so, and no one can tell
}

// atlas is where addresses are. It follows the store event by event, and a look-up
// costs no more with many nodes than with few. It is safe for concurrent use.
type atlas struct {
	mu        sync.RWMutex
	settings  kind.ClusterConfigSpec
	leases    claims
	fabric    claims
	hosts     claims // on nodes' underlay
	external  claims // that nodes say lead to them
	attached  claims
	announced claims
	nodes     map[string]known
	routes    map[string]struct{} // nodes that are labelled LabelDefaultRoute
	policies  []rules.Policy
}

// known is what is remembered of a node beside its prefixes.
type known struct {
	addresses []netip.Addr      // in its order of preference
	ports     []uint16          // of its own addresses that it declares, beside those that all do
	said      map[string]string // labels, by the node
	operators map[string]string // labels, by operators; nil: there is no such object
	labels    map[string]string // both; an operator's word beats the node's
}

func newAtlas() *atlas {
	return &atlas{nodes: map[string]known{}, routes: map[string]struct{}{}, settings: kind.ClusterConfigSpec{}.WithDefaults()}
}

// LabelDefaultRoute marks nodes that dial what is no node's, with the value "true".
const LabelDefaultRoute = "weft/default-route"

// take brings changes of the store in. What cannot be read changes nothing: who
// wrote it is told by whoever compiles it.
func (a *atlas) take(events []store.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range events {
		of, namespace, name, ok := kind.ParseKey(e.Key)
		if !ok || namespace != "" || name == "" {
			continue
		}
		switch of {
		case kind.ClusterConfig:
			a.config(e)
		case kind.Lease:
			a.lease(e, name)
		case kind.Report:
			a.report(e, name)
		case kind.Node:
			a.node(e, name)
		case kind.EgressPolicy:
			a.policy(e, name)
		}
	}
}

func (a *atlas) config(e store.Event) {
	var spec kind.ClusterConfigSpec
	if e.Value == nil {
		return
	}
	if _, err := kind.Decode(e.Value, &spec); err == nil {
		a.settings = spec.WithDefaults()
	}
}

func (a *atlas) lease(e store.Event, node string) {
	var spec kind.LeaseSpec
	if e.Value != nil {
		if _, err := kind.Decode(e.Value, &spec); err != nil {
			return
		}
	}
	a.leases.set(e.Key, node, masked(spec.Prefixes))
	a.fabric.set(e.Key, node, hosts(intent.Peer{Lease: spec.Prefixes}.Fabric()))
}

func (a *atlas) report(e store.Event, node string) {
	var spec kind.ReportSpec
	if e.Value != nil {
		if _, err := kind.Decode(e.Value, &spec); err != nil {
			return
		}
	}
	var own []netip.Addr
	for _, u := range spec.Addresses {
		own = append(own, u.Address.Addr().Unmap())
	}
	a.hosts.set(e.Key, node, hosts(own))
	a.external.set(e.Key, node, hosts(spec.External))
	own = append(own, spec.External...)
	a.announced.set(e.Key, node, masked(spec.Announced))
	k := a.nodes[node]
	k.addresses, k.ports, k.said = own, spec.HostPorts, spec.Labels
	a.remember(node, k)
}

func (a *atlas) node(e store.Event, node string) {
	k := a.nodes[node]
	k.operators = nil
	if e.Value != nil {
		var spec kind.NodeSpec
		o, err := kind.Decode(e.Value, &spec)
		if err != nil {
			return
		}
		k.operators = maps.Clone(o.Metadata.Labels)
		if k.operators == nil {
			k.operators = map[string]string{}
		}
	}
	a.remember(node, k)
}

func (a *atlas) policy(e store.Event, name string) {
	others := slices.DeleteFunc(slices.Clone(a.policies), func(p rules.Policy) bool { return p.Name == name })
	if e.Value == nil {
		a.policies = others
		return
	}
	var spec kind.EgressPolicySpec
	if _, err := kind.Decode(e.Value, &spec); err != nil {
		return
	}
	if p, err := spec.Policy(name); err == nil {
		a.policies = append(others, p)
	}
}

// remember keeps a node while anything of it is there.
func (a *atlas) remember(node string, k known) {
	k.labels = maps.Clone(k.said)
	if k.labels == nil {
		k.labels = map[string]string{}
	}
	maps.Copy(k.labels, k.operators)
	delete(a.routes, node)
	if k.operators[LabelDefaultRoute] == "true" { // a node does not make itself one
		a.routes[node] = struct{}{}
	}
	if len(k.addresses) == 0 && k.operators == nil {
		delete(a.nodes, node)
		return
	}
	a.nodes[node] = k
}

// endpoints brings observations of endpoints in; they are followed in mode cluster
// only.
func (a *atlas) endpoints(events []store.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range events {
		if e.Value == nil {
			a.attached.set(e.Key, endpointNode(e.Key), nil)
			continue
		}
		o, err := kind.DecodeObservation[kind.EndpointObservation](e.Entry)
		if err != nil {
			continue
		}
		a.attached.set(e.Key, endpointNode(e.Key), hosts(o.Addresses))
	}
}

func endpointNode(key string) string { return kind.EndpointNode(key[len(kind.ObservedEndpoints):]) }

// noEndpoints forgets them.
func (a *atlas) noEndpoints() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attached = claims{}
}

// place says what an address is.
func (a *atlas) place(addr netip.Addr) Place {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if p, nodes := a.fabric.find(addr); nodes != nil {
		return Place{FabricAddress, p, nodes}
	}
	if p, nodes := a.leases.find(addr); nodes != nil {
		return Place{Leased, p, nodes}
	}
	if p, in := within(a.settings.ServiceCIDRs, addr); in {
		return Place{Kind: ServiceAddress, Prefix: p}
	}
	for _, said := range []struct {
		kind Kind
		by   *claims
	}{{NodeAddress, &a.hosts}, {NodeAddress, &a.external}, {Attached, &a.attached}, {Announced, &a.announced}} {
		if p, nodes := said.by.find(addr); nodes != nil {
			return Place{said.kind, p, nodes}
		}
	}
	if p, in := within(a.settings.ClusterCIDRs, addr); in {
		return Place{Kind: Unleased, Prefix: p}
	}
	return Place{Kind: Elsewhere}
}

// of are the addresses of a node, in its order of preference; known says that there
// is such a node.
func (a *atlas) of(node string) (addresses []netip.Addr, known bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	k, known := a.nodes[node]
	return k.addresses, known
}

// defaultRoutes are the nodes that dial for others, by name.
func (a *atlas) defaultRoutes() []string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Sorted(maps.Keys(a.routes))
}

// mode is what the ClusterConfig says.
func (a *atlas) mode() (mode, fallback string) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.settings.EgressSelectorMode, a.settings.EgressFallback
}

func within(ranges []netip.Prefix, a netip.Addr) (netip.Prefix, bool) {
	i := slices.IndexFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return ranges[i], true
}

// hosts are addresses as prefixes.
func hosts(addrs []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		if a.IsValid() {
			a = a.Unmap().WithZone("")
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

func masked(in []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range in {
		if p.IsValid() {
			out = append(out, p.Masked())
		}
	}
	return out
}
