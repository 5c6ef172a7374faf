package uplink

import (
	"net/netip"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Pools is how far the node's prefixes are used, as of an intent.
type Pools struct {
	Epoch    string
	Revision int64
	Of       []PoolUse
}

// PoolUse is how far one prefix is used.
type PoolUse struct {
	Prefix  netip.Prefix
	Usable  int64 // addresses for pods
	Used    int64
	Resting int64
	Closed  bool // no pod gets an address of it any more
}

func (p Pools) closed() bool {
	return slices.ContainsFunc(p.Of, func(u PoolUse) bool { return u.Closed })
}

// news tells whether p says more than what was sent: a server counts on what is
// closed only as of a revision that it knows.
func (p Pools) news(sent Pools) bool {
	return !slices.Equal(p.Of, sent.Of) || p.closed() && (p.Epoch != sent.Epoch || p.Revision != sent.Revision)
}

// opened is p with nothing closed.
func (p Pools) opened() Pools {
	p.Of = slices.Clone(p.Of)
	for i := range p.Of {
		p.Of[i].Closed = false
	}
	return p
}

// SetPools replaces what is known of the use of the node's prefixes.
func (u *Uplink) SetPools(p Pools) { u.out.setPools(p) }

func (b *outbox) setPools(p Pools) {
	b.change(func() bool {
		changed := p.news(b.pools)
		b.pools = p
		return changed
	})
}

// nextPools is the use of prefixes, if it is news. Nothing is called closed before
// the intent that closes it is on disk: an agent that is killed goes on from there,
// and meanwhile the server may have given the prefix to another.
func (b *outbox) nextPools(s *sent) []*weftv1.SyncRequest {
	p := b.pools
	if b.unfiled > 0 {
		p = p.opened()
	}
	if !p.news(s.pools) {
		return nil
	}
	s.pools = p
	m := &weftv1.PoolReport{Epoch: p.Epoch, Revision: p.Revision}
	for _, u := range p.Of {
		m.Pools = append(m.Pools, &weftv1.PoolUse{Prefix: u.Prefix.String(), Usable: u.Usable, Used: u.Used, Resting: u.Resting, Closed: u.Closed})
	}
	return []*weftv1.SyncRequest{{Message: &weftv1.SyncRequest_Pools{Pools: m}}}
}
