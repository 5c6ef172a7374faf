package fabrictest

import (
	"context"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type mesh struct {
	weftv1.UnimplementedMeshServer
	f *Fabric
}

func (s mesh) Matrix(context.Context, *weftv1.MatrixRequest) (*weftv1.MatrixResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	var out []*weftv1.PairPath
	for i, a := range s.f.Nodes {
		for _, b := range s.f.Nodes[i+1:] {
			out = append(out, s.f.pair(a, b))
		}
	}
	return &weftv1.MatrixResponse{Pairs: out}, nil
}

func (f *Fabric) pair(a, b *weftv1.NodeStatus) *weftv1.PairPath {
	p := &weftv1.PairPath{
		From: a.GetName(), To: b.GetName(), Transport: "vxlan", Mtu: 1450, Why: "backend vxlan",
		FromAddress: a.GetAddresses()[0].GetAddress(), ToAddress: b.GetAddresses()[0].GetAddress(),
	}
	if f.Meshed {
		p.Transport, p.Via, p.Mtu, p.Why = "relayed", "s1", 1380, "n2 symmetric NAT; n1 port-preserving"
		p.Back = &weftv1.PairPath{
			From: b.GetName(), To: a.GetName(), Transport: "wireguard", Mtu: 1232, Why: "nothing answers", Down: true,
			FromAddress: p.GetToAddress(), ToAddress: "192.0.2.1",
		}
		p.Counted = "down"
	}
	return p
}

// ExplainPath tells of n1, which sends over a server's relay, and n2, whose agent is
// away.
func (s mesh) ExplainPath(_ context.Context, r *weftv1.ExplainPathRequest) (*weftv1.ExplainPathResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	ends := map[string]*weftv1.NodeStatus{}
	for _, n := range s.f.Nodes {
		ends[n.GetName()] = n
	}
	a, b := ends[r.GetFrom()], ends[r.GetTo()]
	if a == nil || b == nil {
		return nil, status.Errorf(codes.NotFound, "there is no node %s or %s in the mesh", r.GetFrom(), r.GetTo())
	}
	out := &weftv1.ExplainPathResponse{Path: s.f.pair(a, b)}
	if !s.f.Meshed {
		return out, nil
	}
	for _, n := range []*weftv1.NodeStatus{a, b} {
		end := &weftv1.PathEnd{Node: n.GetName(), Nat4: "easy", Nat6: "none", Site: "fra", Path: meshPath("n2")}
		if n.GetName() != "n1" {
			end = &weftv1.PathEnd{Node: n.GetName(), Nat4: "hard", Site: "home", Error: "node n2 is away: no server hears its agent"}
		}
		out.Ends = append(out.Ends, end)
	}
	out.Rungs = []*weftv1.Rung{
		{Name: "direct", Result: "refused", Why: "sites fra and home differ, encryption: untrusted"},
		{Name: "vxlan", Result: "refused", Why: "sites fra and home differ, encryption: untrusted"},
		{Name: "wireguard", Result: "not known"},
	}
	return out, nil
}

func meshPath(peer string) *weftv1.MeshPath {
	return &weftv1.MeshPath{
		Peer: peer, Rung: "relayed", Via: "s1", SinceUnixMilli: (Now - 250) * 1000, RttMicros: 31_400, LossPermille: 2, Mtu: 1380, MtuProved: true,
		Rungs: []*weftv1.Rung{
			{Name: "direct", Result: "no", Why: "no shared L2: no reply to 6 probes from 10.42.1.0 to 10.42.2.0 on eth0"},
			{Name: "vxlan", Result: "refused", Why: "sites fra and home differ, encryption: untrusted"},
			{Name: "wireguard", Result: "no reply", Why: peer + " offers 192.168.1.5 (private), [2001:db8:7::5]:51820 (6 probes, 0 answers)"},
			{Name: "punched", Result: "failed", Why: peer + " symmetric NAT; n1 port-preserving; 3 tries, next in 4m10s or when an address changes"},
			{Name: "relayed (node)", Result: "off", Why: "no node carries weft/relay=true"},
			{Name: "relayed (s1)", Result: "IN USE"},
		},
		Tried: []*weftv1.MeshTried{
			{Address: "192.168.1.5:51820", Source: "interface", Probes: 6},
			{Address: "[2001:db8:7::5]:51820", Source: "interface", Probes: 6, Why: "no route to host"},
			{Address: "203.0.113.7:40112", Source: "echo", Probes: 3},
			{Via: "s1", Probes: 9, Answers: 9, RttMicros: 31_400, Works: true},
		},
		Climb: "open UDP 51820 inbound over IPv6 at " + peer + "'s router (its candidate is public, nothing answers)",
	}
}

func (s mesh) RotateKeys(_ context.Context, r *weftv1.MeshRotateKeysRequest) (*weftv1.MeshRotateKeysResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	if !s.f.Meshed {
		return nil, status.Error(codes.FailedPrecondition, "no node has a WireGuard key: ClusterConfig/default spec.backend is vxlan")
	}
	names := r.GetNodes()
	if len(names) == 0 {
		for _, n := range s.f.Nodes {
			names = append(names, n.GetName())
		}
	}
	out := &weftv1.MeshRotateKeysResponse{}
	for _, name := range names {
		k := &weftv1.KeyRotation{Node: name, Begun: rotated()}
		if name != "n1" {
			k.Begun, k.Error = nil, "node n2 is away: no server hears its agent"
		}
		out.Rotations = append(out.Rotations, k)
	}
	return out, nil
}

func rotated() *weftv1.RotateKeysResponse {
	return &weftv1.RotateKeysResponse{Slot: 1, PublicKey: "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=", Pairs: 1}
}

func (a agent) GetMesh(_ context.Context, r *weftv1.GetMeshRequest) (*weftv1.GetMeshResponse, error) {
	if r.GetPeer() != "n2" {
		return nil, status.Errorf(codes.NotFound, "there is no peer %s; peers: n2", r.GetPeer())
	}
	return &weftv1.GetMeshResponse{Paths: []*weftv1.MeshPath{meshPath("n2")}}, nil
}

func (a agent) RotateKeys(context.Context, *weftv1.RotateKeysRequest) (*weftv1.RotateKeysResponse, error) {
	return rotated(), nil
}

// counts are those of a fabric of twelve nodes, where pairs choose their way.
func (f *Fabric) counts() []*weftv1.PathCount {
	if !f.Meshed {
		return []*weftv1.PathCount{{Transport: "vxlan", Pairs: 1}}
	}
	return []*weftv1.PathCount{
		{Transport: "direct", Pairs: 15},
		{Transport: "vxlan", Pairs: 20},
		{Transport: "wireguard", Pairs: 24},
		{Transport: "punched", Pairs: 5},
		{Transport: "relayed (s1)", Pairs: 2},
	}
}
