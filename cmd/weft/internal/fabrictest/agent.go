package fabrictest

import (
	"context"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

type agent struct {
	weftv1.UnimplementedAgentServer
	f *Fabric
}

func (a agent) GetStatus(context.Context, *weftv1.GetStatusRequest) (*weftv1.GetStatusResponse, error) {
	a.f.Lock()
	defer a.f.Unlock()
	n := a.f.Nodes[0]
	return &weftv1.GetStatusResponse{
		Node: n.GetName(), Version: n.GetVersion(), Epoch: "3", Revision: 100, AppliedRevision: n.GetAppliedRevision(),
		ServerHeardUnix: Now - 130, Lease: n.GetLease(), Addresses: n.GetAddresses(), Problems: n.GetProblems(),
		Endpoints: 1, Peers: uint32(len(a.f.Peers)), CertificateEndsUnix: Now + 30*day, PodMtu: 1450,
	}, nil
}

func (a agent) ListPeers(context.Context, *weftv1.ListPeersRequest) (*weftv1.ListPeersResponse, error) {
	a.f.Lock()
	defer a.f.Unlock()
	return &weftv1.ListPeersResponse{Peers: a.f.Peers}, nil
}
