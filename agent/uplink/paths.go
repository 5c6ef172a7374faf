package uplink

import (
	"maps"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// maxOldPeers bounds the names of peers in one list of a message.
const maxOldPeers = 16

// Paths is on which rungs the node's pairs stand, as of an intent. The zero value is
// of a node whose pairs choose nothing.
type Paths struct {
	Epoch    string
	Revision int64
	Rungs    map[string]uint32 // pairs, by rung
	Pairs    map[string]uint32 // those of them in which this node's name is the lower, by rung and relay
	Leaving  bool              // the fabric leaves a carrier, or prepares another
	Down     []string          // peers from which nothing is heard by any way
	Old      []string          // peers that are still sent to by a carrier that the fabric leaves
}

// news tells whether p says more than what was sent. Only while a carrier is left a
// server asks as of which revision: else every change of the intent would have every
// node say the same again.
func (p Paths) news(sent Paths) bool {
	return !maps.Equal(p.Rungs, sent.Rungs) || !maps.Equal(p.Pairs, sent.Pairs) || !slices.Equal(p.Old, sent.Old) || !slices.Equal(p.Down, sent.Down) ||
		p.Leaving && (p.Epoch != sent.Epoch || p.Revision != sent.Revision)
}

// SetPaths replaces what is known of the pairs.
func (u *Uplink) SetPaths(p Paths) { u.out.setPaths(p) }

func (b *outbox) setPaths(p Paths) {
	b.change(func() bool {
		changed := p.news(b.paths)
		b.paths = p
		return changed
	})
}

func (b *outbox) nextPaths(s *sent) []*weftv1.SyncRequest {
	if !b.paths.news(s.paths) {
		return nil
	}
	p := b.paths
	s.paths = p
	m := &weftv1.PathSummary{
		Epoch: p.Epoch, Revision: p.Revision, Rungs: p.Rungs, Pairs: p.Pairs,
		Old: uint32(len(p.Old)), OldPeers: p.Old[:min(len(p.Old), maxOldPeers)], DownPeers: p.Down[:min(len(p.Down), maxOldPeers)],
	}
	return []*weftv1.SyncRequest{{Message: &weftv1.SyncRequest_Paths{Paths: m}}}
}
