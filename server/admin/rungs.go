package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// summaries are what nodes said last of their pairs.
func (s *Server) summaries(ctx context.Context) (map[string]kind.PathsObservation, error) {
	entries, _, err := s.Store.List(ctx, kind.ObservedPaths)
	if err != nil {
		return nil, err
	}
	out := map[string]kind.PathsObservation{}
	for _, e := range entries {
		if o, err := kind.DecodeObservation[kind.PathsObservation](e); err == nil {
			out[strings.TrimPrefix(e.Key, kind.ObservedPaths)] = o
		}
	}
	return out, nil
}

// pathCounts counts pairs by how they send: by rule, or where pairs choose their way
// by what the two nodes of each have said.
func (s *Server) pathCounts(g glance) []*weftv1.PathCount {
	all := told(s.Hub.Intent(""), "")
	counts := map[string]int{}
	if !all.Cluster.Meshed() {
		for t, n := range countPaths(all.Cluster, all.Peers) {
			counts[string(t)] += n
		}
	} else {
		counts = countRungs(all.Peers, g.paths)
	}
	var out []*weftv1.PathCount
	for rung, n := range counts {
		if n > 0 {
			out = append(out, &weftv1.PathCount{Transport: rung, Pairs: uint32(n)})
		}
	}
	slices.SortFunc(out, func(a, b *weftv1.PathCount) int {
		return cmp.Or(cmp.Compare(height(a.GetTransport()), height(b.GetTransport())), strings.Compare(a.GetTransport(), b.GetTransport()))
	})
	return out
}

// natWords are classes of NAT as operators say them.
var natWords = map[intent.NAT]string{
	intent.NATNone: "none", intent.NATEasy: "easy", intent.NATHard: "symmetric", intent.NATBlocked: "udp-blocked",
}

// nat is what stands between a node and the servers' echo, in a word: of IPv4 and
// IPv6 where they differ.
func nat(r kind.ReportSpec) string {
	switch {
	case r.NAT4 == r.NAT6 || r.NAT6 == "":
		return natWords[r.NAT4]
	case r.NAT4 == "":
		return natWords[r.NAT6]
	}
	return natWords[r.NAT4] + "/" + natWords[r.NAT6]
}

// wireguard is which WireGuard devices a node has: kernel, go, or none.
func wireguard(r kind.ReportSpec) string {
	for capability, word := range map[string]string{intent.CapabilityKernel: "kernel", intent.CapabilityGo: "go"} {
		if slices.Contains(r.Capabilities, capability) {
			return word
		}
	}
	return ""
}
