package uplinktest

import (
	"context"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
)

// wire carries a stream, over gRPC or a line.
type wire interface {
	Context() context.Context
	Send(*weftv1.SyncResponse) error
	Recv() (*weftv1.SyncRequest, error)
}

// Stream is one agent's stream as the server sees it.
type Stream struct {
	wire
	Hello *weftv1.Hello
	Up    chan *weftv1.SyncRequest // all but heartbeats
	Beats chan *weftv1.Heartbeat
	End   chan error
}

// Sync implements the service.
func (f *Fabric) Sync(g grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]) error {
	return f.serve(g)
}

// serve hands a stream to the test.
func (f *Fabric) serve(g wire) error {
	first, err := g.Recv()
	if err != nil {
		return err
	}
	s := &Stream{g, first.GetHello(), make(chan *weftv1.SyncRequest, 100), make(chan *weftv1.Heartbeat, 100), make(chan error, 1)}
	go func() {
		for {
			m, err := g.Recv()
			if err != nil {
				return
			}
			if m.GetHeartbeat() == nil {
				select {
				case s.Up <- m:
				case <-g.Context().Done():
				}
				continue
			}
			select {
			case s.Beats <- m.GetHeartbeat():
			default: // nobody counts them
			}
		}
	}()
	select {
	case f.Streams <- s:
	case <-g.Context().Done():
	}
	select {
	case err := <-s.End:
		return err
	case <-g.Context().Done():
		return nil
	}
}

// Beat sends heartbeats as a server does, until the stream or the test ends.
func (s *Stream) Beat(ctx context.Context) {
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for { // a server speaks as soon as it is spoken to
		_ = s.Send(&weftv1.SyncResponse{Message: &weftv1.SyncResponse_Heartbeat{Heartbeat: &weftv1.Heartbeat{}}})
		select {
		case <-ctx.Done():
			return
		case <-s.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// Tell sends a full set of peers and completes it.
func (s *Stream) Tell(t *testing.T, epoch string, rev int64, peers ...string) {
	t.Helper()
	msgs := []*weftv1.SyncResponse{Begin(), Set(intent.CollectionCluster, intent.KeyCluster, intent.EncodeCluster(intent.Cluster{Backend: intent.VXLAN}))}
	for _, p := range peers {
		msgs = append(msgs, Peer(p))
	}
	s.Say(t, append(msgs, End(), Complete(epoch, rev))...)
}

// Say sends messages as they are.
func (s *Stream) Say(t *testing.T, msgs ...*weftv1.SyncResponse) {
	t.Helper()
	for _, m := range msgs {
		if err := s.Send(m); err != nil {
			t.Errorf("server: send: %v", err)
		}
	}
}

// Begin begins a full set.
func Begin() *weftv1.SyncResponse { return replace(weftv1.ReplaceAll_PHASE_BEGIN) }

// End ends a full set.
func End() *weftv1.SyncResponse { return replace(weftv1.ReplaceAll_PHASE_END) }

func replace(p weftv1.ReplaceAll_Phase) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_ReplaceAll{ReplaceAll: &weftv1.ReplaceAll{Phase: p}}}
}

// Set gives an object its value.
func Set(collection, key string, value []byte) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Set{Set: &weftv1.Set{Collection: collection, Key: key, Revision: 1, Value: value}}}
}

// Peer gives a node of that name, without lease or address.
func Peer(name string) *weftv1.SyncResponse {
	return Set(intent.CollectionPeers, intent.PeerKey(name), intent.EncodePeer(intent.Peer{Name: name}))
}

// Delete takes an object away.
func Delete(collection, key string) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Delete{Delete: &weftv1.Delete{Collection: collection, Key: key}}}
}

// Complete ends a revision.
func Complete(epoch string, rev int64) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Complete{Complete: &weftv1.Complete{Epoch: epoch, Revision: rev, CompileVersion: intent.CompileVersion}}}
}
