package lease

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/server/kind"
)

// orphaned lists the leases of families that a configuration has no range of.
func (b *book) orphaned(spec kind.ClusterConfigSpec) []netip.Prefix {
	var out []netip.Prefix
	for _, h := range b.held {
		for _, p := range h.prefixes {
			if !slices.ContainsFunc(spec.ClusterCIDRs, func(r netip.Prefix) bool { return r.Addr().Is4() == p.Addr().Is4() }) {
				out = append(out, p)
			}
		}
	}
	return out
}

// pods counts the pods with an address in each of some prefixes, as nodes last
// reported them. One that came since keeps its address all the same: a lease is
// taken back only once its node says that it is empty and closed.
func (a *Allocator) pods(ctx context.Context, in []netip.Prefix) (map[netip.Prefix]int, error) {
	if len(in) == 0 {
		return nil, nil
	}
	entries, _, err := a.store.List(ctx, kind.ObservedEndpoints)
	if err != nil {
		return nil, fmt.Errorf("lease: pods: %w", err)
	}
	out := make(map[netip.Prefix]int, len(in))
	lengths := map[int]bool{}
	for _, p := range in {
		out[p] = 0
		lengths[p.Bits()] = true
	}
	for _, e := range entries {
		o, err := kind.DecodeObservation[kind.EndpointObservation](e)
		if err != nil {
			return nil, err
		}
		for _, addr := range o.Addresses {
			for bits := range lengths {
				p, err := addr.Prefix(bits)
				if _, ours := out[p]; err == nil && ours {
					out[p]++
				}
			}
		}
	}
	return out, nil
}
