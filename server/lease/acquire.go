package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// acquire answers each request, in the book and in the request, and gives the
// transaction that makes it true; an empty one if everybody has a lease already.
func (b *book) acquire(batch []*request, now time.Time) store.Txn {
	b.ripen(now)
	txn := b.txn()
	frame := len(txn.Then)
	var changed []string
	for _, r := range batch {
		was := b.held[r.node]
		r.given, r.err = b.give(r, now)
		if r.err == nil && !slices.Equal(was.prefixes, r.given) && !slices.Contains(changed, r.node) {
			changed = append(changed, r.node)
		}
	}
	for _, r := range batch {
		txn = b.settleDispute(txn, r)
	}
	for _, node := range changed {
		h := b.held[node]
		key := kind.Key(kind.Lease, "", node)
		value, err := kind.Encode(kind.Lease, h.meta, kind.LeaseSpec{Node: node, Prefixes: h.prefixes, Draining: h.draining})
		if err != nil {
			panic(err) // our own values: a bug
		}
		txn.If = append(txn.If, store.Cond{Key: key, Revision: h.revision})
		txn.Then = append(txn.Then, store.Write{Key: key, Value: value})
	}
	if len(txn.Then) == frame {
		return store.Txn{}
	}
	return b.sweep(txn)
}

// give enters in the book what one node gets. On an error the book is as before.
func (b *book) give(r *request, now time.Time) ([]netip.Prefix, error) {
	h, there := b.held[r.node]
	if !there {
		h.meta = kind.Metadata{Name: r.node, CreatedUnix: now.Unix()}
	}
	if err := b.disputed(r, h); err != nil {
		return nil, err
	}
	prefixes := slices.Clone(h.prefixes)
	var fresh, freed []netip.Prefix
	ended := map[netip.Prefix]rested{}
	if r.returns {
		var err error
		if prefixes, fresh, freed, err = b.relearn(r, ended); err != nil {
			return nil, err
		}
	}
	for _, is4 := range b.families() {
		if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == is4 }) {
			continue
		}
		p, err := b.one(r, is4, now, ended)
		if errors.Is(err, ErrSettling) && len(prefixes) > 0 {
			continue // a further family can wait
		}
		if err != nil {
			b.undo(fresh, ended)
			return nil, err
		}
		fresh, prefixes = append(fresh, p), append(prefixes, p)
	}
	for _, p := range freed {
		if space, ok := b.space(p); ok {
			space.Free(p)
		}
	}
	h.prefixes = intent.InOrder(b.families(), prefixes)
	h.draining = slices.DeleteFunc(slices.Clone(h.draining), func(p netip.Prefix) bool { return !slices.Contains(h.prefixes, p) })
	b.held[r.node] = h
	return h.prefixes, nil
}

// undo gives back what was taken, and lets what had to end its rest for it go on.
func (b *book) undo(fresh []netip.Prefix, ended map[netip.Prefix]rested) {
	for _, p := range fresh {
		if space, ok := b.space(p); ok {
			space.Free(p)
		}
	}
	for p, r := range ended {
		b.garbage = slices.DeleteFunc(b.garbage, func(key string) bool { return key == restKey(p) })
		b.rest(p, r)
	}
}

// one takes a prefix of a family for a node. The rests that end for it are put
// into ended.
func (b *book) one(r *request, is4 bool, now time.Time, ended map[netip.Prefix]rested) (netip.Prefix, error) {
	if err := b.readable(); err != nil {
		return netip.Prefix{}, fmt.Errorf("lease: node %s: %w", r.node, err)
	}
	if err := b.clear(r); err != nil {
		return netip.Prefix{}, err
	}
	for _, p := range r.carried {
		if p.Addr().Is4() == is4 && b.honour(r.node, p, ended) {
			return p, nil
		}
	}
	if b.settling {
		return netip.Prefix{}, fmt.Errorf("lease: node %s: %w", r.node, ErrSettling)
	}
	p, err := b.carve(is4, now, ended)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("lease: node %s: %w; add a range to ClusterConfig/default spec.clusterCIDRs, or delete nodes that are gone", r.node, err)
	}
	return p, nil
}

// clear refuses a node whose own address lies in the cluster's ranges: pods and
// nodes would answer for each other.
func (b *book) clear(r *request) error {
	for _, a := range r.address {
		for _, cidr := range slices.Concat(b.spec.ClusterCIDRs, b.spec.ServiceCIDRs) {
			if cidr.Contains(a.Addr()) {
				return fmt.Errorf("lease: node %s: its address %v lies in %v, which belongs to pods or services; give the node another --node-ip, or the cluster another range",
					r.node, a.Addr(), cidr)
			}
		}
	}
	return nil
}

// honour takes a prefix that a node says it holds, if it is as one would be given
// and nobody else has it.
func (b *book) honour(node string, p netip.Prefix, ended map[netip.Prefix]rested) bool {
	space, ok := b.space(p)
	if !ok || p != p.Masked() || p.Bits() != b.spec.MaskSize(p.Addr().Is4()) || b.isLoose(p) || b.kept(p, node) {
		return false
	}
	if r, resting := b.rests[p]; resting && r.Node == node {
		ended[p] = r
		b.wake(p)
	}
	return space.Take(p) == nil
}

// carve takes the first free prefix of a family, of the first range with room;
// if there is none, the longest-rested.
func (b *book) carve(is4 bool, now time.Time, ended map[netip.Prefix]rested) (netip.Prefix, error) {
	bits := b.spec.MaskSize(is4)
	var mine []*ipam.Space
	for _, s := range b.spaces {
		if s.CIDR().Addr().Is4() == is4 {
			mine = append(mine, s)
		}
	}
	p, err := b.first(mine, func(s *ipam.Space) (netip.Prefix, error) { return b.carveOne(s, bits, now) })
	if !errors.Is(err, ipam.ErrFull) {
		return p, err
	}
	slices.SortStableFunc(mine, func(a, b *ipam.Space) int { return a.LongestRest().Compare(b.LongestRest()) })
	p, squeezed := b.first(mine, func(s *ipam.Space) (netip.Prefix, error) { return s.Squeeze(bits) })
	if squeezed != nil {
		return netip.Prefix{}, err
	}
	for q, r := range b.rests {
		if q.Overlaps(p) {
			ended[q] = r
			delete(b.rests, q)
			b.garbage = append(b.garbage, restKey(q))
		}
	}
	return p, nil
}

// first asks each range in turn. What overlaps a loose prefix is set aside while
// it looks on.
func (b *book) first(spaces []*ipam.Space, carve func(*ipam.Space) (netip.Prefix, error)) (p netip.Prefix, err error) {
	for _, s := range spaces {
		var aside []netip.Prefix
		for {
			if p, err = carve(s); err != nil || !b.isLoose(p) && !b.kept(p, "") {
				break
			}
			aside = append(aside, p)
		}
		for _, q := range aside {
			s.Free(q)
		}
		if err == nil {
			return p, nil
		}
	}
	return netip.Prefix{}, err
}

func (b *book) isLoose(p netip.Prefix) bool { return slices.ContainsFunc(b.loose, p.Overlaps) }
