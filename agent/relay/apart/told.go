package apart

import (
	"maps"
	"slices"

	"github.com/weft-net/weft/proto/intent"
)

// told is what the process was told, as agent/relay asks for it. It does not change.
type told struct {
	node   node
	peers  map[string]peer
	intent intent.Node
}

// with is what is known after a message.
func (t *told) with(m message) *told {
	next := &told{node: t.node, peers: maps.Clone(t.peers)}
	if next.peers == nil {
		next.peers = map[string]peer{}
	}
	if m.Node != nil {
		next.node = *m.Node
	}
	for _, p := range m.Peers {
		if p.Straight == nil {
			p.Straight = t.peers[p.Name].Straight
		}
		next.peers[p.Name] = p
	}
	for _, name := range m.Gone {
		delete(next.peers, name)
	}
	next.intent = intent.Node{Name: next.node.Node}
	for _, name := range slices.Sorted(maps.Keys(next.peers)) {
		next.intent.Peers = append(next.intent.Peers, next.peers[name].intent())
	}
	return next
}

// only is what is known once peers that nobody named are gone.
func (t *told) only(named map[string]bool) *told {
	var gone []string
	for name := range t.peers {
		if !named[name] {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return t
	}
	return t.with(message{Gone: gone})
}

// straight tells whether a node is reached without a node between.
func (t *told) straight(name string) bool {
	s := t.peers[name].Straight
	return s != nil && *s
}

// secret is what only this node and a peer know.
func (t *told) secret(name string, slot uint8) ([32]byte, bool) {
	if s := t.peers[name].Slots[slot].Secret; len(s) == 32 {
		return [32]byte(s), true
	}
	return [32]byte{}, false
}
