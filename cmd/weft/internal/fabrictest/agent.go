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
		Tunnels: []*weftv1.ServerTunnel{
			{Server: "lb:7443", State: "same", Of: "s1:7443", SinceUnix: Now - 300},
			{Server: "s1:7443", State: "up", SinceUnix: Now - 3600, RoundTripMicro: 2_400, Streams: 2, Proxy: "http://p:3128"},
			{Server: "s2:7443", State: "down", SinceUnix: Now - 60, Error: "connection refused", NextUnix: Now + 10},
			{Server: "s3:7443", State: "none", SinceUnix: Now - 900, Error: "404 Not Found"},
		},
	}, nil
}

func (a agent) ListPeers(context.Context, *weftv1.ListPeersRequest) (*weftv1.ListPeersResponse, error) {
	a.f.Lock()
	defer a.f.Unlock()
	return &weftv1.ListPeersResponse{Peers: a.f.Peers}, nil
}
