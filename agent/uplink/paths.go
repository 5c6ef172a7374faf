package uplink

import (
	"maps"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Bounds on names of peers in a message: in one list, and on all rungs but the usual
// together. Of what is more a server takes it that it is on the usual one.
const (
	maxOldPeers = 16
	maxOthers   = 1024
)

// Paths is on which rungs the node's pairs stand, as of an intent. The zero value is
// of a node whose pairs choose nothing.
type Paths struct {
	Epoch    string
	Revision int64
	Rungs    map[string]uint32 // pairs, by rung
	Usual    string            // the rung, and the relay, of all that Others does not name
	Others   []On              // what matters most is first
	Leaving  bool              // the fabric leaves a carrier, or prepares another
	Down     []string          // peers from which nothing is heard by any way
	Old      []string          // peers that are still sent to by a carrier that the fabric leaves
}

// On is which peers are sent to on one rung.
type On struct {
	Rung  string
	Peers []string
}

func (o On) equal(p On) bool { return o.Rung == p.Rung && slices.Equal(o.Peers, p.Peers) }

// news tells whether p says more than what was sent. Only while a carrier is left a
// server asks as of which revision: else every change of the intent would have every
// node say the same again.
func (p Paths) news(sent Paths) bool {
	return !maps.Equal(p.Rungs, sent.Rungs) || p.Usual != sent.Usual || !slices.EqualFunc(p.Others, sent.Others, On.equal) || !slices.Equal(p.Old, sent.Old) || !slices.Equal(p.Down, sent.Down) ||
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
		Epoch: p.Epoch, Revision: p.Revision, Rungs: p.Rungs, Usual: p.Usual,
		Old: uint32(len(p.Old)), OldPeers: p.Old[:min(len(p.Old), maxOldPeers)], DownPeers: p.Down[:min(len(p.Down), maxOldPeers)],
	}
	left := maxOthers
	for _, o := range p.Others {
		if n := min(len(o.Peers), left); n > 0 {
			m.Others = append(m.Others, &weftv1.RungPeers{Rung: o.Rung, Peers: o.Peers[:n]})
			left -= n
		}
	}
	return []*weftv1.SyncRequest{{Message: &weftv1.SyncRequest_Paths{Paths: m}}}
}
