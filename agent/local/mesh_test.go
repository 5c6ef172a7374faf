package local

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestGetMesh(t *testing.T) {
	node := intent.Node{Name: "n1", Cluster: intent.Cluster{Backend: intent.Auto}, Peers: []intent.Peer{{Name: "n1"}, {Name: "n2"}, {Name: "n3"}}}
	a := &Agent{Intent: func() (intent.Node, bool) { return node, true }, Mesh: explained{"n2", mesh.Explanation{
		Node: "n1", Peer: "n2", Rung: mesh.ByServer, Slot: 1, Via: mesh.Via{Server: "s1"}, Since: time.UnixMilli(7), RTT: 3 * time.Millisecond,
		Loss: 0.0125, MTU: 1380, Probed: true, Climb: "forward UDP 51820",
		Rungs: []mesh.Verdict{{Rung: "direct", Result: "refused", Why: "encryption: always"}},
		Tried: []mesh.Tried{{Addr: netip.MustParseAddrPort("192.0.2.7:51820"), Source: intent.FromEcho, Probes: 5, Answers: 2, RTT: time.Millisecond, Works: true}},
	}}}
	brief := &weftv1.MeshPath{
		Peer: "n2", Rung: "relayed", Via: "s1", Slot: 1, SinceUnixMilli: 7, RttMicros: 3000, LossPermille: 13, Mtu: 1380, MtuProved: true, Climb: "forward UDP 51820",
	}
	whole := &weftv1.MeshPath{
		Peer: "n2", Rung: "relayed", Via: "s1", Slot: 1, SinceUnixMilli: 7, RttMicros: 3000, LossPermille: 13, Mtu: 1380, MtuProved: true, Climb: "forward UDP 51820",
		Rungs: []*weftv1.Rung{{Name: "direct", Result: "refused", Why: "encryption: always"}},
		Tried: []*weftv1.MeshTried{{Address: "192.0.2.7:51820", Source: "echo", Probes: 5, Answers: 2, RttMicros: 1000, Works: true}},
	}
	for _, c := range []struct {
		peer  string
		brief bool
		want  *weftv1.MeshPath
		code  codes.Code
	}{
		{"n2", false, whole, codes.OK},
		{"n2", true, brief, codes.OK},
		{"", false, whole, codes.OK},
		{"", true, brief, codes.OK},
		{"n9", false, nil, codes.NotFound},
		{"n1", false, nil, codes.InvalidArgument},
	} {
		r, err := a.GetMesh(t.Context(), &weftv1.GetMeshRequest{Peer: c.peer, Brief: c.brief})
		if status.Code(err) != c.code {
			t.Errorf("%q: %v", c.peer, err)
		}
		if c.want != nil {
			if diff := cmp.Diff([]*weftv1.MeshPath{c.want}, r.GetPaths(), protocmp.Transform()); diff != "" {
				t.Errorf("%q: %s", c.peer, diff)
			}
		}
	}
	a.Mesh = nil
	if r, err := a.GetMesh(t.Context(), &weftv1.GetMeshRequest{}); err != nil || len(r.GetPaths()) > 0 {
		t.Errorf("without pairs that choose: %v, %v", r, err)
	}
}

// TestGetMeshOfTailnet: of a fabric that a tailnet carries it is told what that carries.
func TestGetMeshOfTailnet(t *testing.T) {
	at := func(s string) []intent.Underlay {
		return []intent.Underlay{{Addr: netip.MustParsePrefix(s), MTU: 1280}}
	}
	node := intent.Node{Name: "n1", Cluster: intent.Cluster{Backend: intent.Tailnet}, Peers: []intent.Peer{
		{Name: "n1", Underlay: at("100.64.0.1/32")}, {Name: "n2", Underlay: at("100.64.0.2/32")}, {Name: "n3", Underlay: at("100.64.0.3/32")},
	}}
	a := &Agent{Intent: func() (intent.Node, bool) { return node, true }, Tailnet: carries{"n2"}}
	r, err := a.GetMesh(t.Context(), &weftv1.GetMeshRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []*weftv1.MeshPath{
		{Peer: "n2", Rung: "tailnet", Mtu: 1280, Rungs: []*weftv1.Rung{{Name: "tailnet", Result: "in use", Why: "n2, asked by n1"}}},
		{Peer: "n3", Rung: "tailnet", Mtu: 1280, Down: true, Rungs: []*weftv1.Rung{{Name: "tailnet", Result: "no", Why: "n3, asked by n1"}}},
	}
	if diff := cmp.Diff(want, r.GetPaths(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// carries is a tailnet that lets one peer's packets through.
type carries struct{ peer string }

func (c carries) Way(_ intent.Cluster, p intent.Peer) (carried bool, why string) {
	return p.Name == c.peer, p.Name + ", asked by n1"
}

// explained knows one pair.
type explained struct {
	peer string
	mesh.Explanation
}

func (e explained) Explain(peer string) (mesh.Explanation, bool) {
	return e.Explanation, peer == e.peer
}
func (explained) Rotate(context.Context) (Rotated, error) { return Rotated{}, nil }
