package lease

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// extended is what makes true that a node, which has a lease and is away, has also
// what others know of it: a further prefix, or a family, may be younger than the
// backup that was restored. Taken is only what is free and does not rest, beside a
// prefix that both know.
func (b *book) extended(c kind.Claim, h holding) (store.Txn, error) {
	known := slices.ContainsFunc(c.Prefixes, func(p netip.Prefix) bool { return slices.Contains(h.prefixes, p) })
	before := len(h.prefixes)
	for _, p := range c.Prefixes {
		if _, resting := b.rests[p]; resting || !known || slices.Contains(h.prefixes, p) || len(of(h.prefixes, p.Addr().Is4())) >= b.spec.MaxPrefixes {
			continue
		}
		if b.honour(c.Node, p, map[netip.Prefix]rested{}) {
			h.prefixes = append(slices.Clone(h.prefixes), p)
		}
	}
	if len(h.prefixes) == before || h.revision == 0 {
		return store.Txn{}, nil
	}
	h.prefixes = intent.InOrder(b.families(), h.prefixes)
	b.held[c.Node] = h
	key := kind.Key(kind.Lease, "", c.Node)
	value, err := kind.Encode(kind.Lease, h.meta, kind.LeaseSpec{Node: c.Node, Prefixes: h.prefixes, Draining: h.draining})
	if err != nil {
		return store.Txn{}, fmt.Errorf("lease: %w", err)
	}
	return store.Txn{If: []store.Cond{{Key: key, Revision: h.revision}}, Then: []store.Write{{Key: key, Value: value}}}, nil
}
