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
	for _, r := range batch {
		r.given, r.err = b.give(r, now)
	}
	txn = b.write(txn)
	for _, r := range batch {
		txn = b.settleDispute(txn, r)
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
	prefixes, said := slices.Clone(h.prefixes), h.said
	var fresh []netip.Prefix
	ended := map[netip.Prefix]rested{}
	if r.returns {
		w := b.past.word(r.epoch, r.revision)
		l, err := b.learn(r.node, r.carried, w)
		if err != nil {
			return nil, err
		}
		if len(l.prefixes) > 0 {
			b.touch(r.node)
		}
		b.apply(l)
		prefixes, r.from = l.prefixes, l.from
		if said.before(w) {
			said = w
		}
	}
	for _, is4 := range b.families() {
		if len(of(prefixes, is4)) > 0 {
			continue
		}
		p, err := b.one(r, is4, now, ended)
		if err != nil && len(prefixes) > 0 && (r.returns || errors.Is(err, ErrSettling)) {
			continue // a further family can wait
		}
		if err != nil {
			b.undo(fresh, ended)
			return nil, err
		}
		fresh, prefixes = append(fresh, p), append(prefixes, p)
	}
	if !r.returns || len(fresh) > 0 || len(r.carried) == 0 {
		said = granted
	}
	if !there || !h.told || !slices.Equal(h.prefixes, intent.InOrder(b.families(), prefixes)) {
		b.touch(r.node)
		b.keep(r.node, h, prefixes, said, true)
	}
	return b.held[r.node].prefixes, nil
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

// carveOne takes a free prefix of a space, from the end that this epoch gives
// from.
func (b *book) carveOne(s *ipam.Space, bits int, now time.Time) (netip.Prefix, error) {
	if b.down {
		return s.CarveLast(bits, now)
	}
	return s.Carve(bits, now)
}
