package admin

import (
	"context"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxMatrix bounds the nodes of a Matrix: 500 have 124,750 pairs.
const maxMatrix = 500

// Matrix implements weftv1.MeshServer. Of pairs that choose their way both nodes are
// asked, each how it sends.
func (s *mesh) Matrix(ctx context.Context, _ *weftv1.MatrixRequest) (*weftv1.MatrixResponse, error) {
	all := told(s.Hub.Intent(""), "")
	if n := len(all.Peers); n > maxMatrix {
		return nil, status.Errorf(codes.ResourceExhausted, "%d nodes have %d pairs; pairs are listed up to %d nodes, weft status counts them", n, n*(n-1)/2, maxMatrix)
	}
	pair := func(a, b intent.Peer) *weftv1.PairPath { return pairPath(a, b, all.Cluster.Path(a, b)) }
	if all.Cluster.Meshed() {
		pair = s.heardOf(ctx, all, s.sendings(ctx, all.Peers)).pair
	}
	out := &weftv1.MatrixResponse{}
	for i, a := range all.Peers {
		for _, b := range all.Peers[i+1:] {
			out.Pairs = append(out.Pairs, pair(a, b))
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

// ExplainPath implements weftv1.MeshServer. Of a pair that chooses its way both agents
// are asked.
func (s *mesh) ExplainPath(ctx context.Context, r *weftv1.ExplainPathRequest) (*weftv1.ExplainPathResponse, error) {
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
	a, b := ends[0], ends[1]
	path := all.Cluster.Path(a, b)
	out := &weftv1.ExplainPathResponse{Path: pairPath(a, b, path)}
	if !all.Cluster.Meshed() {
		out.Rungs = rungs(all.Cluster.Toward(a.Name, b.Name), path)
		if path.Transport == intent.ByTailnet {
			s.carried(ctx, a, b, out)
		}
		return out, nil
	}
	out.Ends = s.ends(ctx, a, b)
	out.Path = s.heardOf(ctx, all, sendingsOf(out.Ends, a, b)).pair(a, b)
	if first := out.Ends[0].GetPath(); first != nil {
		out.Rungs = first.GetRungs()
	} else {
		out.Rungs = allowed(all.Cluster.Ways(a, b))
	}
	return out, nil
}

// carried tells of a pair in a tailnet what each end knows: a tailnet carries what was
// approved there, and one direction may be without the other.
func (s *mesh) carried(ctx context.Context, a, b intent.Peer, out *weftv1.ExplainPathResponse) {
	why := []string{out.GetPath().GetWhy()}
	for _, end := range s.ends(ctx, a, b) {
		switch rungs := end.GetPath().GetRungs(); {
		case end.GetPath() == nil:
			why = append(why, end.GetNode()+" could not be asked: "+end.GetError())
		case len(rungs) > 0:
			why = append(why, end.GetNode()+": "+rungs[0].GetWhy())
		}
		if end.GetPath().GetDown() {
			out.Rungs[0].Result = "no"
		}
	}
	out.Path.Why = strings.Join(why, "; ")
	out.Rungs[0].Why = out.GetPath().GetWhy()
}

// allowed is what a pair that could not be asked may use.
func allowed(w intent.Ways) []*weftv1.Rung {
	var out []*weftv1.Rung
	for _, way := range []struct {
		name string
		intent.Way
	}{{string(intent.Direct), w.Direct}, {string(intent.Overlay), w.VXLAN}, {string(intent.Sealed), w.WireGuard}} {
		r := &weftv1.Rung{Name: way.name, Result: "refused", Why: way.Why}
		if way.OK {
			r.Result = "not known"
		}
		out = append(out, r)
	}
	return out
}

// rungs are the ways that there are between two nodes, the quickest first.
func rungs(c intent.Cluster, p intent.Path) []*weftv1.Rung {
	direct := &weftv1.Rung{Name: string(intent.Direct), Result: "in use", Why: p.Why}
	vxlan := &weftv1.Rung{Name: string(intent.Overlay), Result: "in use", Why: p.Why}
	if c.Backend == intent.Tailnet {
		return tailnetRungs(p)
	}
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

// tailnetRungs are the ways of a fabric that a tailnet carries: there is one.
func tailnetRungs(p intent.Path) []*weftv1.Rung {
	tailnet := &weftv1.Rung{Name: string(intent.ByTailnet), Result: "in use", Why: "tailscaled routes and encrypts: tailscale ping says by which way"}
	if p.Transport != intent.ByTailnet {
		tailnet.Result, tailnet.Why = "no", p.Why
	}
	out := []*weftv1.Rung{tailnet}
	for _, t := range []intent.Transport{intent.Direct, intent.Overlay} {
		out = append(out, &weftv1.Rung{Name: string(t), Result: "off", Why: "ClusterConfig/default spec.backend is tailscale"})
	}
	return out
}
