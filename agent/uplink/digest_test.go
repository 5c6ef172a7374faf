package uplink

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func batch(ms ...*weftv1.SyncResponse) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Batch{Batch: &weftv1.Batch{Messages: ms}}}
}

// complete of a revision at which an agent should hold just these peers, and a
// cluster.
func complete(rev int64, peers ...string) *weftv1.SyncResponse {
	objects := []intent.Object{{Collection: intent.CollectionCluster, Key: intent.KeyCluster, Value: intent.EncodeCluster(intent.Cluster{Backend: intent.VXLAN})}}
	for _, p := range peers {
		objects = append(objects, intent.Object{Collection: intent.CollectionPeers, Key: intent.PeerKey(p), Value: intent.EncodePeer(intent.Peer{Name: p})})
	}
	set, _ := intent.NewSet(objects)
	m := uplinktest.Complete("e1", rev)
	m.GetComplete().Digest = set.Digest()
	return m
}

// peers of the intent held.
func (n *node) peers() string {
	held, _ := n.Intent()
	out := ""
	for _, p := range held.Peers {
		out += p.Name
	}
	return out
}

func TestDigest(t *testing.T) {
	full := func(rev int64, peers ...string) []*weftv1.SyncResponse {
		out := []*weftv1.SyncResponse{uplinktest.Begin(), uplinktest.Set(intent.CollectionCluster, intent.KeyCluster, intent.EncodeCluster(intent.Cluster{Backend: intent.VXLAN}))}
		for _, p := range peers {
			out = append(out, uplinktest.Peer(p))
		}
		return append(out, uplinktest.End(), complete(rev, peers...))
	}
	for _, c := range []struct {
		name   string
		say    []*weftv1.SyncResponse
		want   string // peers held
		resync bool
	}{
		{"a change in a batch", []*weftv1.SyncResponse{batch(uplinktest.Peer("c"), complete(8, "a", "b", "c"))}, "abc", false},
		{"nothing missed", []*weftv1.SyncResponse{complete(8, "a", "b")}, "ab", false},
		{"a server that gives no digest", []*weftv1.SyncResponse{uplinktest.Peer("c"), uplinktest.Complete("e1", 8)}, "abc", false},
		{"a deletion missed", []*weftv1.SyncResponse{batch(uplinktest.Peer("c"), complete(8, "a", "c"))}, "ab", true},
		{"a deletion missed, and the full set", append([]*weftv1.SyncResponse{complete(8, "a")}, batch(full(9, "a")...)), "a", true},
		{"more comes before the full set", append([]*weftv1.SyncResponse{complete(8, "a"), batch(uplinktest.Peer("d"), complete(9, "a", "d"))}, full(9, "a", "d")...), "ad", true},
		{"a full set that is not what it says is taken", append(full(9, "a", "b", "c")[:6], complete(9, "z")), "abc", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
				n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
				defer n.start(ctx, t)()
				s := <-f.Streams
				if s.Hello.GetDigest() != 0 || !s.Hello.GetBatches() || s.Hello.GetStream() != 1 {
					t.Errorf("first hello: %v", s.Hello)
				}
				s.Say(t, batch(full(7, "a", "b")...))
				<-n.changed
				s.Say(t, c.say...)
				synctest.Wait()
				if got := n.peers(); got != c.want {
					t.Errorf("holds %s, want %s", got, c.want)
				}
				asked := 0
				for len(s.Up) > 0 {
					if (<-s.Up).GetResync() != nil {
						asked++
					}
				}
				if asked > 1 || (asked == 1) != c.resync {
					t.Errorf("asked for a full set %d times", asked)
				}
				s.End <- nil
				s = <-f.Streams
				h := n.held.Load()
				if s.Hello.GetDigest() != h.set.Digest() || s.Hello.GetRevision() != h.revision || s.Hello.GetStream() != 2 {
					t.Errorf("second hello: %v, holds %x", s.Hello, h.set.Digest())
				}
			})
		})
	}
}
