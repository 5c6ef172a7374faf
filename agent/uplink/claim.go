package uplink

import (
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// claimBytes bounds one message of claims; a peer is some 200 bytes.
const claimBytes = 256 << 10

// claim tells whether a full set has to wait, because the server was restored and
// does not know yet what this node carries: peers that were leased, or leased
// otherwise, after the backup. They are claimed once; with the next word of the server, or when it
// says that it has settled, the set is taken as it is.
func (s *session) claim(c *weftv1.Complete) (waits bool) {
	held := s.u.held.Load()
	if !c.GetSettling() || c.GetClaimed() || !s.stage.whole || held == nil || held.epoch == c.GetEpoch() {
		return false
	}
	if s.claimed {
		return true
	}
	staged := s.stage.complete()
	var missed []intent.Object
	for _, o := range held.set.Objects() {
		if o.Collection != intent.CollectionPeers || o.Key == intent.PeerKey(s.u.cfg.Node) {
			continue
		}
		name := strings.TrimPrefix(o.Key, intent.PeerKey(""))
		was, _ := held.set.Peer(name)
		if now, there := staged.Peer(name); !there || !slices.Equal(was.Lease, now.Lease) {
			missed = append(missed, o)
		}
	}
	if len(missed) == 0 {
		return false
	}
	s.claimed = true
	s.u.cfg.Log.Info("peers claimed", note.Epoch, c.GetEpoch(), note.Objects, len(missed))
	select {
	case s.claims <- missed:
	default: // all of it is on its way already
	}
	return true
}

// carry answers a server that lost its store: with all that is held.
func (s *session) carry() {
	var all []intent.Object
	if held := s.u.held.Load(); held != nil {
		for _, o := range held.set.Objects() {
			if o.Collection == intent.CollectionPeers || o.Collection == intent.CollectionCluster {
				all = append(all, o)
			}
		}
	}
	select {
	case s.claims <- all:
	default: // asked again before the answer went
	}
}

// claimMessages are claims in parts.
func claimMessages(held *held, peers []intent.Object) []*weftv1.SyncRequest {
	if held == nil {
		return []*weftv1.SyncRequest{{Message: &weftv1.SyncRequest_Claims{Claims: &weftv1.Claims{Last: true}}}}
	}
	var out []*weftv1.SyncRequest
	size := 0
	var part *weftv1.Claims
	for _, o := range peers {
		if part == nil || size+len(o.Value) > claimBytes {
			part, size = &weftv1.Claims{Epoch: held.epoch, Revision: held.revision}, 0
			out = append(out, &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Claims{Claims: part}})
		}
		if o.Collection == intent.CollectionCluster {
			part.Cluster = o.Value
		} else {
			part.Peers = append(part.Peers, o.Value)
		}
		size += len(o.Value)
	}
	if part != nil {
		part.Last = true
	}
	return out
}
