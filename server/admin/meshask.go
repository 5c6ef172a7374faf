package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Bounds on questions about paths to many agents.
const (
	maxAsked   = 32 // at one time
	matrixWait = 3 * time.Second
)

// sending is how one node sends, by peer, or why it is not known.
type sending struct {
	paths map[string]*weftv1.MeshPath
	err   error
}

// sendings asks nodes how they send.
func (s *mesh) sendings(ctx context.Context, peers []intent.Peer) map[string]sending {
	ctx, cancel := context.WithTimeout(ctx, matrixWait)
	defer cancel()
	var mu sync.Mutex
	out := map[string]sending{}
	each(peers, func(_ int, p intent.Peer) {
		answer := &weftv1.GetMeshResponse{}
		got := sending{paths: map[string]*weftv1.MeshPath{}}
		if got.err = s.asks(ctx, p, "GetMesh", &weftv1.GetMeshRequest{Brief: true}, answer); got.err == nil {
			for _, path := range answer.GetPaths() {
				got.paths[path.GetPeer()] = path
			}
		}
		mu.Lock()
		defer mu.Unlock()
		out[p.Name] = got
	})
	return out
}

// each does something with many, a bounded number of them at one time.
func each[T any](list []T, do func(int, T)) {
	turns := make(chan struct{}, maxAsked)
	var all sync.WaitGroup
	for i, v := range list {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			do(i, v)
		})
	}
	all.Wait()
}

// ends asks both ends of a pair, each of its own sending.
func (s *mesh) ends(ctx context.Context, a, b intent.Peer) []*weftv1.PathEnd {
	out := []*weftv1.PathEnd{pathEnd(a), pathEnd(b)}
	var both sync.WaitGroup
	for i, end := range [][2]intent.Peer{{a, b}, {b, a}} {
		both.Go(func() {
			answer := &weftv1.GetMeshResponse{}
			err := s.asks(ctx, end[0], "GetMesh", &weftv1.GetMeshRequest{Peer: end[1].Name}, answer)
			switch {
			case err != nil:
				out[i].Error = status.Convert(err).Message()
			case len(answer.GetPaths()) == 0:
				out[i].Error = end[0].Name + " has not heard of " + end[1].Name + " yet"
			default:
				out[i].Path = answer.GetPaths()[0]
			}
		})
	}
	both.Wait()
	return out
}

// sendingsOf is what the two ends of a pair answered.
func sendingsOf(ends []*weftv1.PathEnd, a, b intent.Peer) map[string]sending {
	out := map[string]sending{}
	for i, peer := range []string{b.Name, a.Name} {
		g := sending{}
		if ends[i].GetPath() != nil {
			g.paths = map[string]*weftv1.MeshPath{peer: ends[i].GetPath()}
		} else {
			g.err = errors.New(ends[i].GetError())
		}
		out[ends[i].GetNode()] = g
	}
	return out
}

func pathEnd(p intent.Peer) *weftv1.PathEnd {
	return &weftv1.PathEnd{Node: p.Name, Site: p.Site(), Nat4: string(p.NAT4), Nat6: string(p.NAT6)}
}

// asks asks an agent what only one can answer that knows such pairs.
func (s *mesh) asks(ctx context.Context, p intent.Peer, method string, question, response proto.Message) error {
	err := s.ask(ctx, p.Name, method, question, response)
	if status.Code(err) == codes.Unimplemented {
		return status.Errorf(codes.FailedPrecondition, "the agent of node %s is of a release before pairs chose their way; upgrade weft-agent there", p.Name)
	}
	return err
}

// RotateKeys implements weftv1.MeshServer.
func (s *mesh) RotateKeys(ctx context.Context, r *weftv1.MeshRotateKeysRequest) (*weftv1.MeshRotateKeysResponse, error) {
	all := told(s.Hub.Intent(""), "")
	if !all.Cluster.Meshed() {
		return nil, status.Errorf(codes.FailedPrecondition, "no node has a WireGuard key: ClusterConfig/default spec.backend is %s", all.Cluster.Backend)
	}
	if since, _ := s.Silence(); !since.IsZero() {
		return nil, status.Error(codes.Unavailable, "the store answers nobody: no peer would hear of a new key")
	}
	var nodes []intent.Peer
	for i, name := range r.GetNodes() {
		p, ok := all.Peer(name)
		switch {
		case name == "":
			return nil, badField(fmt.Sprintf("nodes[%d]", i), "is empty; write the name of a node")
		case slices.Contains(r.GetNodes()[:i], name):
			continue // a second question would only be refused
		case !ok:
			return nil, badField(fmt.Sprintf("nodes[%d]", i), "there is no node %.300s: it has not joined, or has no lease yet", name)
		}
		nodes = append(nodes, p)
	}
	if len(nodes) == 0 {
		nodes = all.Peers
	}
	out := &weftv1.MeshRotateKeysResponse{Rotations: make([]*weftv1.KeyRotation, len(nodes))}
	each(nodes, func(i int, p intent.Peer) {
		k := &weftv1.KeyRotation{Node: p.Name, Begun: &weftv1.RotateKeysResponse{}}
		if err := s.asks(ctx, p, "RotateKeys", &weftv1.RotateKeysRequest{}, k.Begun); err != nil {
			k.Begun, k.Error = nil, status.Convert(err).Message()
		}
		out.Rotations[i] = k
	})
	for i, k := range out.Rotations {
		if k.GetBegun() != nil && i < maxTold { // the audit has all that were named
			s.tell(ctx, "Node/"+k.GetNode(), "KeyRotated", "a new WireGuard key in slot %d; %d pairs move to it", k.GetBegun().GetSlot(), k.GetBegun().GetPairs())
		}
	}
	return out, nil
}
