package lease

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// ErrEnough is what Grow's error wraps when a node has all the prefixes of a
// family that it may have.
var ErrEnough = errors.New("the node has as many prefixes as it may")

// errIdle ends a decision that has nothing to write.
var errIdle = errors.New("nothing to do")

// Given is what a node's lease became.
type Given struct {
	Node     string
	Prefixes []netip.Prefix
	Err      error // why it is as before
}

// Complete gives nodes that have joined the families which the cluster has and
// their lease has not, a batch at a time: nodes by name after one that the last
// batch ended with. It answers what it did, and after which node to go on, or
// nothing when all were seen. A node without a lease, or that has not joined, is
// served when it comes.
func (a *Allocator) Complete(ctx context.Context, after string) (done []Given, next string, err error) {
	b, err := a.take(ctx)
	if err != nil {
		return nil, "", err
	}
	defer func() { a.turn <- b }()
	var batch []*request
	b, err = a.retry(ctx, b, func(b *book) (store.Txn, error) {
		batch, next = nil, ""
		if b.config == 0 {
			return store.Txn{}, nil
		}
		lacking := b.lacking(after)
		if len(lacking) == 0 {
			return store.Txn{}, nil
		}
		nodes, err := a.joined(ctx)
		if err != nil {
			return store.Txn{}, err
		}
		batch, next = requests(lacking, nodes)
		return b.acquire(batch, a.now()), nil
	})
	if err != nil {
		return nil, "", err
	}
	for _, r := range batch {
		done = append(done, Given{Node: r.node, Prefixes: r.given, Err: r.err})
	}
	return done, next, nil
}

// requests makes the next batch of nodes that lack something and have joined.
func requests(lacking []string, nodes map[string]member) (batch []*request, next string) {
	for _, name := range lacking {
		if !nodes[name].joined {
			continue
		}
		if len(batch) == maxBatch {
			return batch, batch[maxBatch-1].node
		}
		r := &request{node: name}
		for _, addr := range nodes[name].addresses {
			r.address = append(r.address, netip.PrefixFrom(addr, addr.BitLen()))
		}
		batch = append(batch, r)
	}
	return batch, ""
}

// lacking lists the leases without a prefix of some family of the cluster, by
// name after one. A node that has not come since the store was lost is served when it
// does: it may carry one.
func (b *book) lacking(after string) []string {
	families := b.families()
	var out []string
	for node, h := range b.held {
		if node > after && h.told && b.broken[node] == nil && slices.ContainsFunc(families, func(is4 bool) bool { return len(of(h.prefixes, is4)) == 0 }) {
			out = append(out, node)
		}
	}
	slices.Sort(out)
	return out
}

// of are the prefixes of a family.
func of(prefixes []netip.Prefix, is4 bool) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return p.Addr().Is4() != is4 })
}

// Grow gives a node a further prefix of a family. Those that drain do not count
// against what it may have. The error wraps ErrEnough, or ipam.ErrFull.
func (a *Allocator) Grow(ctx context.Context, node string, is4 bool) (given netip.Prefix, err error) {
	address, err := a.addresses(ctx, node)
	if err != nil {
		return netip.Prefix{}, err
	}
	err = a.alter(ctx, node, func(b *book, h *holding) ([]netip.Prefix, error) {
		if !slices.Contains(b.families(), is4) {
			return nil, fmt.Errorf("lease: node %s: the cluster has no %s range", node, ipam.Family(is4))
		}
		open := slices.DeleteFunc(of(h.prefixes, is4), func(p netip.Prefix) bool { return slices.Contains(h.draining, p) })
		if len(open) >= b.spec.MaxPrefixes || len(h.prefixes) >= kind.MaxLeasePrefixes {
			return nil, fmt.Errorf("lease: node %s: %d %s prefixes, maxPrefixesPerNode is %d: %w", node, len(open), ipam.Family(is4), b.spec.MaxPrefixes, ErrEnough)
		}
		var err error
		given, err = b.one(&request{node: node, address: address}, is4, a.now(), map[netip.Prefix]rested{})
		h.prefixes = append(slices.Clone(h.prefixes), given)
		return nil, err
	})
	return given, err
}

// Drain marks a prefix of a node, so that pods get no address of it any more.
func (a *Allocator) Drain(ctx context.Context, node string, p netip.Prefix) error {
	return a.alter(ctx, node, func(_ *book, h *holding) ([]netip.Prefix, error) {
		if !slices.Contains(h.prefixes, p) || slices.Contains(h.draining, p) {
			return nil, errIdle
		}
		h.draining = append(slices.Clone(h.draining), p)
		return nil, nil
	})
}

// Yield takes back a prefix that drains, as long as neither the lease nor the
// ClusterConfig is younger than what its node knew when it found the prefix empty and
// closed: it goes by both. The last prefix of a family of the cluster stays.
func (a *Allocator) Yield(ctx context.Context, node string, p netip.Prefix, known int64) error {
	return a.alter(ctx, node, func(b *book, h *holding) ([]netip.Prefix, error) {
		is4 := p.Addr().Is4()
		others := len(of(h.prefixes, is4)) > 1 || !slices.Contains(b.families(), is4)
		if !slices.Contains(h.draining, p) || max(h.revision, b.config) > known || !others || len(h.prefixes) == 1 {
			return nil, errIdle
		}
		gone := func(q netip.Prefix) bool { return q == p }
		h.prefixes = slices.DeleteFunc(slices.Clone(h.prefixes), gone)
		h.draining = slices.DeleteFunc(slices.Clone(h.draining), gone)
		return []netip.Prefix{p}, nil
	})
}

// alter changes one stored lease. What change frees rests.
func (a *Allocator) alter(ctx context.Context, node string, change func(*book, *holding) (freed []netip.Prefix, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, commitLimit)
	defer cancel()
	b, err := a.take(ctx)
	if err != nil {
		return err
	}
	defer func() { a.turn <- b }()
	var refused error // leaves the book as it is
	b, err = a.retry(ctx, b, func(b *book) (store.Txn, error) {
		b.ripen(a.now()) // as acquire does: a space gives what has rested
		h, there := b.held[node]
		var freed []netip.Prefix
		switch refused = b.readable(); {
		case refused != nil:
			return store.Txn{}, nil
		case !there || b.config == 0:
			refused = errIdle
			return store.Txn{}, nil
		}
		if freed, refused = change(b, &h); refused != nil {
			return store.Txn{}, nil
		}
		return b.altered(node, h, freed, a.now()), nil
	})
	if err == nil && !errors.Is(refused, errIdle) {
		err = refused
	}
	return err
}

// altered enters a changed lease in the book, and gives the transaction that
// makes it true.
func (b *book) altered(node string, h holding, freed []netip.Prefix, now time.Time) store.Txn {
	b.touch(node)
	b.held[node] = h
	txn := b.write(b.txn())
	txn.Then = append(txn.Then, b.freed(node, freed, now)...)
	return b.sweep(txn)
}
