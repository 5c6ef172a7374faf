package preshared

import (
	"net/netip"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Fact is what is known of a tunnel beside its keys: see Slot.
type Fact struct {
	Bare, Mute bool
	Key        [32]byte
}

// peersOf is what the machine is told of peers. As long as nobody knows by what pairs
// send, each tunnel may be in use since before.
func peersOf(n intent.Node, own []intent.Slot, facts map[string][intent.Slots]Fact, known bool) (out []Peer) {
	for i := range n.Peers {
		o := &n.Peers[i]
		if o.Name == n.Name {
			continue
		}
		p := Peer{Name: o.Name, Able: o.Preshared}
		for _, s := range own {
			theirs, ok := o.SlotOf(s.Slot)
			if !ok {
				continue
			}
			f, has := facts[o.Name]
			fact := f[s.Slot]
			p.Slots[s.Slot] = Slot{
				There: true, Own: s.Key, Theirs: theirs.Key, Leaving: s.Leaving || theirs.Leaving,
				Bare: fact.Bare || !known || !has, Mute: fact.Mute, Key: fact.Key,
			}
		}
		out = append(out, p)
	}
	return out
}

// gate lets in what comes from nodes, of each no more than it may send: what is more is
// lost before anything is computed of it, and is no loss of the others'.
type gate struct {
	mu    sync.Mutex
	peers map[netip.Addr]*sender // by fabric address
	sets  uint64
}

// sender is a node.
type sender struct {
	name   string
	set    uint64 // the know that named it last
	budget budget
}

// know takes who there is. Who was there keeps what is left to it.
func (g *gate) know(n intent.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.peers == nil {
		g.peers = map[netip.Addr]*sender{}
	}
	g.sets++
	for i := range n.Peers {
		if p := &n.Peers[i]; p.Name != n.Name {
			for _, a := range p.Fabric() {
				if s := g.peers[a]; s == nil {
					g.peers[a] = &sender{name: p.Name, set: g.sets}
				} else {
					s.name, s.set = p.Name, g.sets
				}
			}
		}
	}
	for a, s := range g.peers {
		if s.set != g.sets {
			delete(g.peers, a)
		}
	}
}

// pass is the node that has a fabric address, if one more datagram is taken of it.
func (g *gate) pass(from netip.Addr, now time.Time) (name string, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.peers[from]
	if s == nil || !s.budget.take(now) {
		return "", false
	}
	return s.name, true
}

// budget bounds the messages that are taken of one peer.
type budget struct {
	left float64
	at   time.Time
}

// Messages a second, and at once: an agreement is six.
const (
	rate = 20
	most = 40
)

func (b *budget) take(now time.Time) bool {
	if b.at.IsZero() {
		b.left = most
	}
	b.left = min(most, b.left+rate*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
