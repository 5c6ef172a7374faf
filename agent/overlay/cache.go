package overlay

import (
	"maps"
	"reflect"
	"slices"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

// Cache plans anew only what a change is about: a peer that comes costs the plan
// of that peer. What did not change is given as the very same slices again, which
// their reader may take as a sign that nothing is new. They must not be written
// to.
//
// An intent's peers are known by their place in memory: whoever has an intent
// never changes it. The zero value is ready; one goroutine at a time may use it.
type Cache struct {
	last     Node
	filled   bool
	tunnels  [2]bool
	peers    map[string]*planned // only while no two claim one thing
	parts    [][]datapath.Object
	problems []intent.Problem
}

// planned is one peer: the way to it, and the addresses it sends from.
type planned struct {
	peer     intent.Peer
	choice   mesh.Choice
	chosen   bool    // there was a choice
	tunnel   [2]bool // what it adds to plan.tunnels
	way      []datapath.Object
	sources  []datapath.Object
	problems []intent.Problem
}

// Parts is the package's Objects, remembered, in parts: what is the node's own,
// and two a peer.
func (c *Cache) Parts(n Node) ([][]datapath.Object, []intent.Problem) {
	like := c.filled && alike(c.last, n)
	if like && identical(c.last.Intent.Peers, n.Intent.Peers) && one(c.last.Choices, n.Choices) {
		return c.parts, c.problems
	}
	if !like {
		c.peers = nil
	}
	n.Underlay, n.AcceptRA, n.Slots = slices.Clone(n.Underlay), slices.Clone(n.AcceptRA), slices.Clone(n.Slots)
	c.last, c.filled = n, true
	c.parts, c.problems = nil, nil
	self, ok := n.Intent.Self()
	if !ok || len(self.Lease) == 0 {
		c.peers = nil
		return nil, nil
	}
	self.Underlay, self.VTEP, self.Slots = n.Underlay, n.VTEP, n.Slots
	p := newPlan(n, self)
	p.forwarding()
	p.fabric()
	var peers []*planned
	if p.cluster.Backend != intent.None || len(p.carriers) > 0 || p.cluster.Meshed() {
		peers = c.plan(p)
		p.sealedDevices()
		p.devices()
		p.guard()
	}
	c.parts, c.problems = assemble(p, peers)
	return c.parts, c.problems
}

// plan plans all peers, those that are known from last time excepted.
func (c *Cache) plan(p *plan) []*planned {
	before := len(p.problems)
	if !p.reachable() {
		c.peers = nil
		return nil
	}
	owned, holders := owned{lost: p.lost(), vteps: p.vteps(), keys: p.keys()}, p.holders()
	if len(p.problems) > before { // one peer's plan depends on another's
		c.peers = nil
	}
	sound := len(p.problems) == before
	peers := make([]*planned, 0, len(p.Intent.Peers))
	for i, peer := range p.Intent.Peers {
		if peer.Name == p.Intent.Name {
			continue
		}
		was := c.peers[peer.Name]
		choice, chosen := p.Choices[peer.Name]
		if was == nil || was.chosen != chosen || was.choice != choice || !was.peer.Equal(peer) {
			was = p.one(i, owned)
		}
		for i, t := range was.tunnel {
			p.tunnels[i] = p.tunnels[i] || t
		}
		peers = append(peers, was)
	}
	for _, peer := range peers {
		if c.tunnels != p.tunnels || peer.sources == nil {
			peer.sources = p.sources(peer.peer, holders)
		}
	}
	c.tunnels, c.peers = p.tunnels, nil
	if sound {
		c.peers = make(map[string]*planned, len(peers))
		for _, peer := range peers {
			c.peers[peer.peer.Name] = peer
		}
	}
	return peers
}

// assemble puts the parts together.
func assemble(p *plan, peers []*planned) ([][]datapath.Object, []intent.Problem) {
	parts := make([][]datapath.Object, 1, 1+2*len(peers))
	parts[0] = p.objects
	problems := p.problems
	for _, peer := range peers {
		parts = append(parts, peer.way)
		problems = append(problems, peer.problems...)
	}
	for _, peer := range peers {
		parts = append(parts, peer.sources)
	}
	return slices.DeleteFunc(parts, func(part []datapath.Object) bool { return len(part) == 0 }), problems
}

// alike tells whether two nodes differ in their peers at most.
func alike(a, b Node) bool {
	x, ok := a.Intent.Self()
	y, has := b.Intent.Self()
	return ok == has && slices.Equal(x.Lease, y.Lease) && maps.Equal(x.Labels, y.Labels) && slices.Equal(a.Slots, b.Slots) &&
		a.Intent.Name == b.Intent.Name && a.Intent.Cluster.Equal(b.Intent.Cluster) &&
		slices.Equal(a.Underlay, b.Underlay) && a.VTEP == b.VTEP &&
		a.ChecksumOff == b.ChecksumOff && slices.Equal(a.AcceptRA, b.AcceptRA)
}

// one tells whether two are one map: whoever makes choices gives the same again while
// none is another, and never changes what it gave.
func one(a, b map[string]mesh.Choice) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

func identical(a, b []intent.Peer) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
