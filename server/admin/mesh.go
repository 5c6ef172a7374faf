package admin

import (
	"context"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxMatrix bounds the nodes of a Matrix: 500 have 124,750 pairs.
const maxMatrix = 500

// Matrix implements weftv1.MeshServer.
func (s *mesh) Matrix(context.Context, *weftv1.MatrixRequest) (*weftv1.MatrixResponse, error) {
	all := told(s.Hub.Intent(""), "")
	if n := len(all.Peers); n > maxMatrix {
		return nil, status.Errorf(codes.ResourceExhausted, "%d nodes have %d pairs; pairs are listed up to %d nodes, weft status counts them", n, n*(n-1)/2, maxMatrix)
	}
	out := &weftv1.MatrixResponse{}
	for i, a := range all.Peers {
		for _, b := range all.Peers[i+1:] {
			out.Pairs = append(out.Pairs, pairPath(a, b, all.Cluster.Path(a, b)))
		}
	}
	return out, nil
}

func pairPath(a, b intent.Peer, p intent.Path) *weftv1.PairPath {
	out := &weftv1.PairPath{From: a.Name, To: b.Name, Transport: string(p.Transport), Mtu: uint32(max(p.MTU, 0)), Why: p.Why}
	if p.Local.Addr.IsValid() {
		out.FromAddress, out.ToAddress = p.Local.Addr.Addr().String(), p.Remote.Addr.Addr().String()
	}
	return out
}

// ExplainPath implements weftv1.MeshServer.
func (s *mesh) ExplainPath(_ context.Context, r *weftv1.ExplainPathRequest) (*weftv1.ExplainPathResponse, error) {
	if r.GetFrom() == r.GetTo() {
		return nil, badField("to", "is the same node as from")
	}
	all := told(s.Hub.Intent(""), "")
	var ends []intent.Peer
	for _, name := range []string{r.GetFrom(), r.GetTo()} {
		p, ok := all.Peer(name)
		if !ok {
			return nil, notFound("there is no node %.300s in the mesh: it has not joined, or has no lease yet", name)
		}
		ends = append(ends, p)
	}
	path := all.Cluster.Path(ends[0], ends[1])
	return &weftv1.ExplainPathResponse{Path: pairPath(ends[0], ends[1], path), Rungs: rungs(all.Cluster.Toward(ends[0].Name, ends[1].Name), path)}, nil
}

// rungs are the ways that there are between two nodes, the quickest first.
func rungs(c intent.Cluster, p intent.Path) []*weftv1.Rung {
	direct := &weftv1.Rung{Name: string(intent.Direct), Result: "in use", Why: p.Why}
	vxlan := &weftv1.Rung{Name: string(intent.Overlay), Result: "in use", Why: p.Why}
	switch {
	case p.Transport == intent.Direct:
	case c.Backend == intent.None || !p.Local.Addr.IsValid():
		direct.Result, direct.Why = "no", p.Why
	case c.Backend == intent.VXLAN && !c.DirectRouting:
		direct.Result, direct.Why = "off", "ClusterConfig/default spec.directRouting is false"
	default:
		direct.Result, direct.Why = "no", p.Local.Addr.String()+" and "+p.Remote.Addr.String()+" are not on one link"
	}
	switch {
	case p.Transport == intent.Overlay:
	case p.Transport == intent.Direct && c.Backend == intent.VXLAN:
		vxlan.Result, vxlan.Why = "not needed", "a rung above it is in use"
	case c.Backend == intent.VXLAN:
		vxlan.Result, vxlan.Why = "no", p.Why
	default:
		vxlan.Result, vxlan.Why = "off", "ClusterConfig/default spec.backend is "+string(c.Backend)
	}
	return []*weftv1.Rung{direct, vxlan}
}
