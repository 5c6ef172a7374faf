package admin

import (
	"context"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// List implements weftv1.NodesServer.
func (s *nodes) List(ctx context.Context, _ *weftv1.NodesListRequest) (*weftv1.NodesListResponse, error) {
	var v *view
	var said map[string]kind.PathsObservation
	silent, err := s.heard(ctx, func(ctx context.Context) (err error) {
		if v, _, err = s.read(ctx, parts[kind.Node]); err == nil {
			said, err = s.summaries(ctx)
		}
		return err
	})
	if err != nil {
		return nil, answer(err)
	}
	if !silent.IsZero() {
		v = s.remembered(silent)
	}
	out, words := &weftv1.NodesListResponse{}, s.witnesses(v, said)
	for _, n := range v.members() {
		h := s.health(n)
		w := &weftv1.NodeStatus{
			Name: n.name, State: h.state, Version: h.push.Version, Addresses: n.addresses(),
			AppliedRevision: h.applied, HeardUnix: h.push.HeardUnix, JoinedUnix: n.created(),
			Problems: s.nodeProblems(n, words), Endpoints: uint32(n.endpoints), PausedUntilUnix: n.pause.UntilUnix,
			Site: n.labels()[intent.SiteLabel], Nat: nat(n.report), Wireguard: wireguard(n.report),
		}
		for _, p := range n.prefixes {
			w.Lease = append(w.Lease, p.String())
		}
		for _, a := range n.fabric() {
			w.FabricAddresses = append(w.FabricAddresses, a.String())
		}
		out.Nodes = append(out.Nodes, w)
	}
	return out, nil
}

// GetIntent implements weftv1.NodesServer.
func (s *nodes) GetIntent(ctx context.Context, r *weftv1.NodesGetIntentRequest) (*weftv1.NodesGetIntentResponse, error) {
	if err := intent.ValidName(r.GetNode()); err != nil {
		return nil, badField("node", "%v", err)
	}
	v, _, err := s.read(ctx, parts[kind.Node])
	if err != nil {
		return nil, answer(err)
	}
	if n := v.nodes[r.GetNode()]; n == nil || !n.is() {
		return nil, missing(ref{kind.Node, "", r.GetNode()})
	}
	w := s.Hub.Intent(r.GetNode())
	return &weftv1.NodesGetIntentResponse{Intent: w, Text: told(w, r.GetNode()).Text()}, nil
}
