package local

import (
	"cmp"
	"context"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Bounds on a probe.
const (
	usualEchoes = 3
	mostEchoes  = 10
)

// Probe implements the service: one address after the other, because a node that
// is dead is dead in all families.
func (a *Agent) Probe(ctx context.Context, r *weftv1.ProbeRequest) (*weftv1.ProbeResponse, error) {
	n, _ := a.Intent()
	self, has := n.Self()
	peer, there := n.Peer(r.GetPeer())
	count := cmp.Or(int(r.GetCount()), usualEchoes)
	switch {
	case a.Echo == nil:
		return nil, status.Error(codes.Unimplemented, "this agent cannot probe")
	case count > mostEchoes:
		return nil, status.Errorf(codes.InvalidArgument, "count: %d; accepted: 1 to %d", count, mostEchoes)
	case !has:
		return nil, status.Error(codes.FailedPrecondition, "this node has no lease yet, and so no fabric address to probe from")
	case !there:
		return nil, status.Errorf(codes.NotFound, "there is no peer %.100q; %s", r.GetPeer(), peersOf(n))
	}
	out := &weftv1.ProbeResponse{}
	for _, to := range peer.Fabric() {
		from, ok := self.FabricOf(to.Is4())
		if !ok {
			continue
		}
		result := &weftv1.ProbeResult{From: from.String(), To: to.String()}
		sent, received, rtt, err := a.Echo(ctx, from, to, count)
		result.Sent, result.Received, result.RttMicros = uint32(sent), uint32(received), rtt.Microseconds()
		if err != nil {
			result.Error = err.Error()
		}
		out.Results = append(out.Results, result)
	}
	return out, nil
}
