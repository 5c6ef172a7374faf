package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Guard checks what an operator is about to write, Leases and the ClusterConfig
// among set, and the leases of nodes to delete, against all that is in use. It
// answers the conditions and writes that keep the operator's transaction safe:
// they go into it, and after store.ErrConflict all is decided again. The
// transaction is empty when nothing of ours is touched.
//
// The error is kind.FieldErrors for what can never be, InUseError for what is in
// the way.
func (a *Allocator) Guard(ctx context.Context, set []kind.Object, gone []string) (store.Txn, error) {
	c, err := parseChange(set, gone)
	if err != nil || !c.hasConfig && len(c.leases)+len(c.gone) == 0 {
		return store.Txn{}, err
	}
	b, err := a.take(ctx)
	if err != nil {
		return store.Txn{}, err
	}
	defer func() { a.turn <- b }()
	if b, err = a.current(ctx, b); err != nil {
		return store.Txn{}, err
	}
	nodes, err := a.joined(ctx)
	if err != nil {
		return store.Txn{}, err
	}
	if c.hasConfig {
		if c.pods, err = a.pods(ctx, b.orphaned(c.config)); err != nil {
			return store.Txn{}, err
		}
	}
	c.servers = a.hosts()
	if err := b.check(c, nodes); err != nil {
		return store.Txn{}, err
	}
	txn := b.txn()
	defer func() { b = nil }() // what was entered in it may never be committed
	for _, name := range c.touched() {
		if !nodes[name].joined { // nor may it join meanwhile
			txn.If = append(txn.If, store.Cond{Key: kind.Key(kind.Node, "", name)}, store.Cond{Key: kind.Key(kind.Report, "", name)})
		}
		if slices.Contains(c.gone, name) {
			txn = b.handOn(txn, name, a.now())
			continue
		}
		after := c.leases[name].Prefixes
		freed := slices.DeleteFunc(slices.Clone(b.held[name].prefixes), func(p netip.Prefix) bool { return slices.Contains(after, p) })
		txn.Then = append(txn.Then, restWrites(name, freed, a.now())...)
	}
	return txn, nil
}

// change is what an operator is about to write.
type change struct {
	hasConfig bool
	config    kind.ClusterConfigSpec
	pods      map[netip.Prefix]int // of leases of families that the cluster loses
	leases    map[string]kind.LeaseSpec
	gone      []string
	servers   map[string][]netip.Addr
}

func parseChange(set []kind.Object, gone []string) (change, error) {
	c := change{leases: map[string]kind.LeaseSpec{}, gone: gone}
	for _, o := range set {
		var err error
		switch o.Kind {
		case kind.ClusterConfig:
			c.hasConfig = true
			err = o.ReadSpec(&c.config)
		case kind.Lease:
			var spec kind.LeaseSpec
			err = o.ReadSpec(&spec)
			c.leases[o.Metadata.Name] = spec
		}
		if err != nil {
			return change{}, err
		}
	}
	return c, nil
}

// touched lists the nodes whose lease changes, sorted.
func (c change) touched() []string {
	names := append(slices.Sorted(maps.Keys(c.leases)), c.gone...)
	slices.Sort(names)
	return slices.Compact(names)
}

// member is a node as far as leases care.
type member struct {
	joined    bool
	addresses []netip.Addr
}

// joined reads the nodes and what they reported.
func (a *Allocator) joined(ctx context.Context) (map[string]member, error) {
	out := map[string]member{}
	for _, k := range []string{kind.Node, kind.Report} {
		entries, _, err := a.store.List(ctx, kind.Key(k, "", ""))
		if err != nil {
			return nil, fmt.Errorf("lease: %w", err)
		}
		for _, e := range entries {
			_, _, name, _ := kind.ParseKey(e.Key)
			m := out[name]
			m.joined = true
			if k == kind.Report {
				var spec kind.ReportSpec
				if _, err := kind.Decode(e.Value, &spec); err != nil {
					return nil, fmt.Errorf("lease: report of node %s: %w", name, err)
				}
				for _, r := range spec.Addresses {
					m.addresses = append(m.addresses, r.Address.Addr())
				}
			}
			out[name] = m
		}
	}
	return out, nil
}

// check refuses what would take from a node what it uses, or give it what others
// use.
func (b *book) check(c change, nodes map[string]member) error {
	if c.hasConfig || len(c.leases) > 0 {
		if err := b.readable(c.touched()...); err != nil {
			return err
		}
	}
	spec := b.spec
	if c.hasConfig {
		spec = c.config.WithDefaults()
	}
	after := maps.Clone(b.held)
	for _, name := range c.gone {
		if nodes[name].joined {
			return stillUsed(name, after[name].prefixes, "")
		}
		delete(after, name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.leases)) {
		lost := slices.DeleteFunc(slices.Clone(after[name].prefixes), func(p netip.Prefix) bool { return slices.Contains(c.leases[name].Prefixes, p) })
		if nodes[name].joined && len(lost) > 0 {
			return stillUsed(name, lost, "spec.prefixes")
		}
		after[name] = holding{prefixes: c.leases[name].Prefixes}
	}
	var errs kind.FieldErrors
	for _, name := range slices.Sorted(maps.Keys(c.leases)) {
		errs = append(errs, checkLease(name, after, spec, nodes)...)
	}
	if c.hasConfig {
		if err := checkRanges(after, b.spec, spec, nodes, c.pods); err != nil {
			return err
		}
		errs = append(errs, checkAddresses(b.spec, spec, c.hosts(nodes))...)
		errs = append(errs, checkRoom(b.spec, spec, nodes)...)
		errs = append(errs, checkMasks(b.spec, spec, after)...)
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

func stillUsed(node string, prefixes []netip.Prefix, field string) error {
	return kind.InUseError{Object: kind.Lease + "/" + node, Field: field, Problem: fmt.Sprintf(
		"node %s is in the fabric and uses %v; add prefixes to its lease, or delete the node: weft delete node %s", node, prefixes, node)}
}

// checkLease refuses prefixes that are outside the ranges, another's, or in the
// way of a node's address.
func checkLease(name string, held map[string]holding, spec kind.ClusterConfigSpec, nodes map[string]member) kind.FieldErrors {
	var errs kind.FieldErrors
	for i, p := range held[name].prefixes {
		add := func(format string, args ...any) {
			errs = append(errs, kind.FieldError{Object: kind.Lease + "/" + name, Field: fmt.Sprintf("spec.prefixes[%d]", i), Problem: fmt.Sprintf(format, args...)})
		}
		if !slices.ContainsFunc(spec.ClusterCIDRs, func(r netip.Prefix) bool { return ipam.Contains(r, p) }) {
			add("%v lies in none of the cluster's ranges; accepted: a prefix of %v", p, spec.ClusterCIDRs)
			continue
		}
		for _, other := range slices.Sorted(maps.Keys(held)) {
			for _, q := range held[other].prefixes {
				if other != name && q.Overlaps(p) {
					add("%v overlaps %v, the lease of node %s; give another", p, q, other)
				}
			}
		}
		for _, node := range slices.Sorted(maps.Keys(nodes)) {
			for _, a := range nodes[node].addresses {
				if p.Contains(a) {
					add("%v holds the address %v of node %s; give another", p, a, node)
				}
			}
		}
	}
	return errs
}

// hosts are the addresses of nodes and servers, by what they are called.
func (c change) hosts(nodes map[string]member) map[string][]netip.Addr {
	out := make(map[string][]netip.Addr, len(nodes)+len(c.servers))
	for name, m := range nodes {
		out["node "+name] = m.addresses
	}
	for name, addrs := range c.servers {
		out["server "+name] = addrs
	}
	return out
}

// checkAddresses refuses ranges in which a host's own address lies.
func checkAddresses(before, spec kind.ClusterConfigSpec, hosts map[string][]netip.Addr) kind.FieldErrors {
	var errs kind.FieldErrors
	for _, list := range []struct {
		field    string
		old, now []netip.Prefix
	}{
		{"spec.clusterCIDRs", before.ClusterCIDRs, spec.ClusterCIDRs},
		{"spec.serviceCIDRs", before.ServiceCIDRs, spec.ServiceCIDRs},
	} {
		for i, p := range list.now {
			if slices.Contains(list.old, p) {
				continue
			}
			for _, host := range slices.Sorted(maps.Keys(hosts)) {
				for _, a := range hosts[host] {
					if p.Contains(a) {
						errs = append(errs, kind.FieldError{
							Object: kind.ClusterConfig + "/" + kind.DefaultName, Field: fmt.Sprintf("%s[%d]", list.field, i),
							Problem: fmt.Sprintf("%v holds the address %v of %s; give another range", p, a, host),
						})
					}
				}
			}
		}
	}
	return errs
}

// checkRanges refuses ranges that leave out leases. Those of a family that the
// cluster loses are in the way only while pods use them: nothing is given in
// their stead.
func checkRanges(held map[string]holding, before, spec kind.ClusterConfigSpec, nodes map[string]member, pods map[netip.Prefix]int) error {
	out := map[string]*kind.LeftOut{}
	for _, node := range slices.Sorted(maps.Keys(held)) {
		for _, p := range held[node].prefixes {
			if slices.ContainsFunc(spec.ClusterCIDRs, func(r netip.Prefix) bool { return ipam.Contains(r, p) }) {
				continue
			}
			if n, orphaned := pods[p]; orphaned && n == 0 && nodes[node].joined {
				continue
			}
			field, r := nearestRange(spec.ClusterCIDRs, p)
			if out[field] == nil {
				out[field] = &kind.LeftOut{Field: field, Range: r}
				if i := slices.IndexFunc(before.ClusterCIDRs, func(r netip.Prefix) bool { return ipam.Contains(r, p) }); i >= 0 {
					out[field].Before = before.ClusterCIDRs[i]
				}
			}
			out[field].Leases = append(out[field].Leases, kind.InUse{Node: node, Prefix: p, Joined: nodes[node].joined})
		}
	}
	var errs []error
	for _, field := range slices.Sorted(maps.Keys(out)) {
		errs = append(errs, *out[field])
	}
	return errors.Join(errs...)
}

// nearestRange is the range of a prefix's family that shares most bits with it.
func nearestRange(ranges []netip.Prefix, p netip.Prefix) (field string, r netip.Prefix) {
	field = "spec.clusterCIDRs"
	most := -1
	for i, q := range ranges {
		if q.Addr().Is4() != p.Addr().Is4() {
			continue
		}
		if bits := ipam.Covering([]netip.Prefix{q, p}).Bits(); bits > most {
			most, field, r = bits, fmt.Sprintf("spec.clusterCIDRs[%d]", i), q
		}
	}
	return field, r
}
