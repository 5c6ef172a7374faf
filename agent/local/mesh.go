package local

import (
	"context"
	"math"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Mesh is what is known of pairs that choose their way.
type Mesh interface {
	// Explain tells how the node sends to a peer; false of one that chooses nothing.
	Explain(peer string) (mesh.Explanation, bool)
	// Rotate changes the node's WireGuard key.
	Rotate(context.Context) (Rotated, error)
}

// Rotated is what a change of keys has begun with.
type Rotated struct {
	Slot  uint8      // of the new key
	Key   intent.Key // the new one
	Pairs int        // that are to move
}

// GetMesh implements the service.
func (a *Agent) GetMesh(_ context.Context, r *weftv1.GetMeshRequest) (*weftv1.GetMeshResponse, error) {
	n, _ := a.Intent()
	if _, there := n.Peer(r.GetPeer()); r.GetPeer() != "" && (!there || r.GetPeer() == n.Name) {
		return nil, status.Errorf(codes.NotFound, "there is no peer %.100q; weft get nodes lists them", r.GetPeer())
	}
	out := &weftv1.GetMeshResponse{}
	for _, p := range n.Peers {
		if a.Mesh == nil || p.Name == n.Name || r.GetPeer() != "" && r.GetPeer() != p.Name {
			continue
		}
		if e, ok := a.Mesh.Explain(p.Name); ok {
			out.Paths = append(out.Paths, meshPath(e))
		}
	}
	return out, nil
}

func meshPath(e mesh.Explanation) *weftv1.MeshPath {
	m := &weftv1.MeshPath{
		Peer: e.Peer, Rung: e.Rung.String(), Via: e.Via.Node + e.Via.Server, Slot: uint32(e.Slot),
		SinceUnixMilli: e.Since.UnixMilli(), RttMicros: e.RTT.Microseconds(), LossPermille: uint32(math.Round(1000 * e.Loss)),
		Mtu: uint32(e.MTU), MtuProved: e.Probed, Climb: e.Climb,
	}
	if e.Endpoint.IsValid() {
		m.Endpoint = e.Endpoint.String()
	}
	for _, v := range e.Rungs {
		m.Rungs = append(m.Rungs, &weftv1.Rung{Name: v.Rung, Result: v.Result, Why: v.Why})
	}
	return m
}

// RotateKeys implements the service.
func (a *Agent) RotateKeys(ctx context.Context, _ *weftv1.RotateKeysRequest) (*weftv1.RotateKeysResponse, error) {
	if a.Mesh == nil {
		return nil, status.Error(codes.Unimplemented, "this agent has no WireGuard keys")
	}
	r, err := a.Mesh.Rotate(ctx)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "local: rotate keys: %v", err)
	}
	return &weftv1.RotateKeysResponse{Slot: uint32(r.Slot), PublicKey: r.Key.String(), Pairs: uint32(r.Pairs)}, nil
}
