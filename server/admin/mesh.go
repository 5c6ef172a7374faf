package admin

import (
	"context"

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
			p := all.Cluster.Path(a, b)
			pair := &weftv1.PairPath{From: a.Name, To: b.Name, Transport: string(p.Transport), Mtu: uint32(max(p.MTU, 0)), Why: p.Why}
			if p.Local.Addr.IsValid() {
				pair.FromAddress, pair.ToAddress = p.Local.Addr.Addr().String(), p.Remote.Addr.Addr().String()
			}
			out.Pairs = append(out.Pairs, pair)
		}
	}
	return out, nil
}
