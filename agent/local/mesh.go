package local

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strings"

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

// mostExplained bounds the pairs of which all that was tried is told at once.
const mostExplained = 64

// GetMesh implements the service. What was tried is told of few pairs at a time only:
// of a thousand it would be more than a message holds.
func (a *Agent) GetMesh(_ context.Context, r *weftv1.GetMeshRequest) (*weftv1.GetMeshResponse, error) {
	n, _ := a.Intent()
	if _, there := n.Peer(r.GetPeer()); r.GetPeer() != "" && r.GetPeer() == n.Name {
		return nil, status.Errorf(codes.InvalidArgument, "%s is this node itself: name another", n.Name)
	} else if r.GetPeer() != "" && !there {
		return nil, status.Errorf(codes.NotFound, "there is no peer %.100q; %s", r.GetPeer(), peersOf(n))
	}
	brief := r.GetBrief() || r.GetPeer() == "" && len(n.Peers) > mostExplained
	out := &weftv1.GetMeshResponse{}
	for _, p := range n.Peers {
		if p.Name == n.Name || r.GetPeer() != "" && r.GetPeer() != p.Name {
			continue
		}
		if a.Tailnet != nil && n.Cluster.Toward(n.Name, p.Name).Backend == intent.Tailnet {
			out.Paths = append(out.Paths, a.byTailnet(n, p, brief))
			continue
		}
		if a.Mesh == nil {
			continue
		}
		if e, ok := a.Mesh.Explain(p.Name); ok {
			out.Paths = append(out.Paths, meshPath(e, brief))
		}
	}
	return out, nil
}

// Tailnet is what is known of pairs that travel by a tailnet.
type Tailnet interface {
	// Way words how the tailnet carries what a peer leases; false if it does not.
	Way(c intent.Cluster, peer intent.Peer) (carried bool, why string)
}

// byTailnet is how a pair sends that chooses nothing: tailscaled does.
func (a *Agent) byTailnet(n intent.Node, p intent.Peer, brief bool) *weftv1.MeshPath {
	carried, why := a.Tailnet.Way(n.Cluster, p)
	m := &weftv1.MeshPath{Peer: p.Name, Rung: string(intent.ByTailnet), Down: !carried}
	if self, ok := n.Self(); ok {
		m.Mtu = uint32(max(n.Cluster.Path(self, p).MTU, 0))
	}
	if brief {
		return m
	}
	result := "in use"
	if !carried {
		result = "no"
	}
	m.Rungs = []*weftv1.Rung{{Name: string(intent.ByTailnet), Result: result, Why: why}}
	return m
}

// mostNamed bounds the peers that a refusal names.
const mostNamed = 8

// peersOf names the peers that this node knows, without a server.
func peersOf(n intent.Node) string {
	var names []string
	for _, p := range n.Peers {
		if p.Name != n.Name {
			names = append(names, p.Name)
		}
	}
	switch rest := len(names) - mostNamed; {
	case len(names) == 0:
		return "this node knows none"
	case rest > 0:
		return fmt.Sprintf("this node knows %s and %d more", strings.Join(names[:mostNamed], ", "), rest)
	}
	return "this node knows " + strings.Join(names, ", ")
}

// chosen is a peer as it is sent to, if the pair chooses its way.
func (a *Agent) chosen(m *weftv1.PeerStatus) *weftv1.PeerStatus {
	if a.Mesh == nil {
		return m
	}
	e, ok := a.Mesh.Explain(m.GetName())
	if !ok {
		return m
	}
	m.Transport, m.Mtu = e.Rung.String(), uint32(e.MTU)
	switch {
	case e.Endpoint.IsValid():
		m.Remote = e.Endpoint.String()
	case e.Rung.Sealed():
		m.Remote = e.Via.Node + e.Via.Server
	}
	return m
}

// meshPath is how a pair sends; brief leaves out what was tried.
func meshPath(e mesh.Explanation, brief bool) *weftv1.MeshPath {
	m := &weftv1.MeshPath{
		Peer: e.Peer, Rung: e.Rung.String(), Via: e.Via.Node + e.Via.Server, Slot: uint32(e.Slot), Endpoint: endpoint(e.Endpoint),
		RttMicros: e.RTT.Microseconds(), LossPermille: uint32(math.Round(1000 * e.Loss)),
		Mtu: uint32(e.MTU), MtuProved: e.Probed, Climb: e.Climb, Down: e.Down, Preshared: e.Preshared, Port: e.Port, NoIpv6: e.Narrow,
	}
	if !e.Since.IsZero() {
		m.SinceUnixMilli = e.Since.UnixMilli()
	}
	if brief {
		return m
	}
	for _, v := range e.Rungs {
		m.Rungs = append(m.Rungs, &weftv1.Rung{Name: v.Rung, Result: v.Result, Why: v.Why})
	}
	for _, t := range e.Tried {
		m.Tried = append(m.Tried, &weftv1.MeshTried{
			Address: endpoint(t.Addr), Via: t.Via.Node + t.Via.Server, Slot: uint32(t.Slot), Source: string(t.Source),
			Probes: uint32(t.Probes), Answers: uint32(t.Answers), RttMicros: t.RTT.Microseconds(), Works: t.Works, Why: t.Why,
		})
	}
	return m
}

// endpoint is an address as text; nothing of none.
func endpoint(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// RotateKeys implements the service.
func (a *Agent) RotateKeys(ctx context.Context, _ *weftv1.RotateKeysRequest) (*weftv1.RotateKeysResponse, error) {
	if a.Mesh == nil {
		return nil, status.Error(codes.Unimplemented, "this agent has no WireGuard keys")
	}
	r, err := a.Mesh.Rotate(ctx)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "%v", err)
	}
	return &weftv1.RotateKeysResponse{Slot: uint32(r.Slot), PublicKey: r.Key.String(), Pairs: uint32(r.Pairs)}, nil
}
