package fabrictest

import (
	"context"
	"net/netip"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type statusServer struct {
	weftv1.UnimplementedStatusServer
	f *Fabric
}

func (s statusServer) Get(context.Context, *weftv1.StatusGetRequest) (*weftv1.StatusGetResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	inStep := 0
	for _, n := range s.f.Nodes {
		if n.GetAppliedRevision() >= s.f.revision {
			inStep++
		}
	}
	return &weftv1.StatusGetResponse{
		Fabric: "prod", Epoch: "3", Revision: s.f.revision,
		Servers: []*weftv1.ServerStatus{{Name: "s1", Address: "198.51.100.10:7443", Leader: true, Version: "0.1.0"}},
		Etcd:    &weftv1.EtcdStatus{Mode: "embedded", Members: 1, SizeBytes: 38 << 20, QuotaBytes: 2 << 30},
		Nodes:   uint32(len(s.f.Nodes)), NodesInStep: uint32(inStep),
		Paths:    s.f.counts(),
		Problems: s.f.Problems, Looking: s.f.Looking, CaEndsUnix: Now + 3650*day,
	}, nil
}

func (s statusServer) ListProblems(context.Context, *weftv1.ListProblemsRequest) (*weftv1.ListProblemsResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	return &weftv1.ListProblemsResponse{Problems: s.f.Problems}, nil
}

type nodes struct {
	weftv1.UnimplementedNodesServer
	f *Fabric
}

func (s nodes) List(context.Context, *weftv1.NodesListRequest) (*weftv1.NodesListResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	return &weftv1.NodesListResponse{Nodes: s.f.Nodes}, nil
}

type leases struct {
	weftv1.UnimplementedLeasesServer
	f *Fabric
}

func (s leases) Reserve(_ context.Context, r *weftv1.ReserveRequest) (*weftv1.ReserveResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	if _, ok := s.f.objects[key{"Lease", "", r.GetNode()}]; ok {
		return nil, status.Errorf(codes.AlreadyExists, "node %s has a lease", r.GetNode())
	}
	prefixes := make([]any, len(r.GetPrefixes()))
	for i, p := range r.GetPrefixes() {
		prefixes[i] = p
	}
	s.f.put("Lease", "", r.GetNode(), nil, fields{"node": r.GetNode(), "prefixes": prefixes}, nil)
	return &weftv1.ReserveResponse{Lease: &weftv1.LeaseStatus{Node: r.GetNode(), Prefixes: r.GetPrefixes(), CreatedUnix: Now}}, nil
}

func (s leases) WhoOwns(_ context.Context, r *weftv1.WhoOwnsRequest) (*weftv1.WhoOwnsResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	addr, err := netip.ParseAddr(r.GetAddress())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "not an address")
	}
	for _, n := range s.f.Nodes {
		for _, p := range n.GetLease() {
			if !netip.MustParsePrefix(p).Contains(addr) {
				continue
			}
			answer := &weftv1.WhoOwnsResponse{Node: n.GetName(), Prefix: p}
			if addr == netip.MustParseAddr("10.42.1.14") {
				answer.Endpoint = &weftv1.EndpointRecord{Key: "n1/abc/eth0", Namespace: "shop", Pod: "web", Device: "wf0123456789a", Mac: "02:00:00:00:00:01"}
			}
			return answer, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "%v is in no lease", addr)
}
