package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// List implements weftv1.LeasesServer.
func (s *leases) List(ctx context.Context, _ *weftv1.LeasesListRequest) (*weftv1.LeasesListResponse, error) {
	v, _, err := s.read(ctx, []string{kind.Key(kind.Lease, "", "")})
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.LeasesListResponse{}
	for _, name := range slices.Sorted(maps.Keys(v.nodes)) {
		if n := v.nodes[name]; n.lease.revision > 0 {
			out.Leases = append(out.Leases, leaseStatus(name, n.prefixes, n.lease.Metadata.CreatedUnix))
		}
	}
	return out, nil
}

func leaseStatus(node string, prefixes []netip.Prefix, created int64) *weftv1.LeaseStatus {
	out := &weftv1.LeaseStatus{Node: node, CreatedUnix: created}
	for _, p := range prefixes {
		out.Prefixes = append(out.Prefixes, p.String())
	}
	return out
}

// Reserve implements weftv1.LeasesServer: it applies a Lease.
func (s *leases) Reserve(ctx context.Context, r *weftv1.ReserveRequest) (*weftv1.ReserveResponse, error) {
	raw, err := json.Marshal(map[string]any{"node": r.GetNode(), "prefixes": r.GetPrefixes()})
	if err != nil {
		return nil, badField("prefixes", "%v", err)
	}
	spec := &structpb.Struct{}
	if err := protojson.Unmarshal(raw, spec); err != nil {
		return nil, badField("prefixes", "%v", err)
	}
	results, _, err := s.set(ctx, writing{merge: true, items: []*weftv1.Resource{{
		Kind: kind.Lease, Metadata: &weftv1.Metadata{Name: r.GetNode()}, Spec: spec,
	}}})
	if err != nil {
		return nil, answer(err)
	}
	v, _, err := s.read(ctx, []string{kind.Key(kind.Lease, "", r.GetNode())})
	if err != nil {
		return nil, answer(err)
	}
	n := v.node(r.GetNode())
	return &weftv1.ReserveResponse{Lease: leaseStatus(n.name, n.prefixes, results[0].GetAfter().GetMetadata().GetCreatedUnix())}, nil
}

// WhoOwns implements weftv1.LeasesServer.
func (s *leases) WhoOwns(ctx context.Context, r *weftv1.WhoOwnsRequest) (*weftv1.WhoOwnsResponse, error) {
	addr, err := netip.ParseAddr(r.GetAddress())
	if err != nil || addr.Zone() != "" {
		return nil, badField("address", "%.60q is not an address; write one as 10.42.0.1 or fd42:42::1", r.GetAddress())
	}
	addr = addr.Unmap()
	v, _, err := s.read(ctx, parts[kind.Node])
	if err != nil {
		return nil, answer(err)
	}
	for _, name := range slices.Sorted(maps.Keys(v.nodes)) {
		n := v.nodes[name]
		for _, p := range n.prefixes {
			if p.Contains(addr) {
				return &weftv1.WhoOwnsResponse{Node: name, Prefix: p.String(), Endpoint: v.endpointOf(name, addr)}, nil
			}
		}
		for _, a := range n.report.Addresses {
			if a.Address.Addr() == addr {
				return &weftv1.WhoOwnsResponse{Node: name, Prefix: a.Address.Masked().String()}, nil
			}
		}
	}
	return nil, notFound("%v belongs to no lease and to no node%s", addr, v.about(addr))
}

func (v *view) endpointOf(node string, addr netip.Addr) *weftv1.EndpointRecord {
	for key, o := range v.endpoints {
		if kind.EndpointNode(key) != node || !slices.Contains(o.Addresses, addr) {
			continue
		}
		out := &weftv1.EndpointRecord{
			Key: key, Namespace: o.Namespace, Pod: o.Pod, Labels: o.Labels,
			Device: o.Device, Mac: o.MAC, CreatedUnix: o.CreatedUnix,
		}
		for _, a := range o.Addresses {
			out.Addresses = append(out.Addresses, a.String())
		}
		return out
	}
	return nil
}

// about tells what is known of an address that nobody holds.
func (v *view) about(addr netip.Addr) string {
	for _, o := range v.plain {
		var spec kind.ClusterConfigSpec
		if o.ReadSpec(&spec) != nil {
			continue
		}
		for _, p := range spec.ClusterCIDRs {
			if p.Contains(addr) {
				return fmt.Sprintf("; it is free in cluster range %v", p)
			}
		}
		for _, p := range spec.ServiceCIDRs {
			if p.Contains(addr) {
				return fmt.Sprintf("; it lies in service range %v", p)
			}
		}
	}
	return ""
}
