package agent

import (
	"fmt"
	"time"

	"github.com/weft-net/weft/agent/keyring"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/preshared"
	"github.com/weft-net/weft/proto/intent"
)

// agreement joins the room of pre-shared keys to the others.
func (p *pairs) agreement() preshared.Config {
	return preshared.Config{
		Log: p.log, Store: shelf{p.ring, p.names}, Intent: p.intent, Slots: p.ring.Slots, Shared: p.shared, Facts: p.facts,
		Alter: func() {
			if at := p.at(); at != nil {
				at.Kick()
			}
		},
	}
}

// shelf is the keyring as the room of pre-shared keys sees it.
type shelf struct {
	ring  *keyring.Ring
	names func() map[string]bool // of nodes that there are
}

func (s shelf) Find(of preshared.Tunnel) ([32]byte, bool) {
	id, _, ok := s.ring.PresharedOf(keyring.Tunnel(of))
	return id, ok
}

// Keep forgets the keys of nodes that are gone, too: it is the moment at which keys
// become more.
func (s shelf) Keep(of preshared.Tunnel, key [32]byte) ([32]byte, error) {
	names := s.names()
	if err := s.ring.KeepPreshared(func(peer string) bool { return names[peer] }); err != nil {
		return [32]byte{}, err
	}
	return s.ring.SetPreshared(keyring.Tunnel(of), key)
}

func (s shelf) Drop(id [32]byte) error { return s.ring.DropPreshared(id) }

// names are those of all nodes.
func (p *pairs) names() map[string]bool {
	n, _ := p.intent()
	out := make(map[string]bool, len(n.Peers))
	for i := range n.Peers {
		out[n.Peers[i].Name] = true
	}
	return out
}

// agreed is who agrees on pre-shared keys; nil while no pair chooses.
func (p *pairs) agreed() *preshared.Agreement {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agree
}

// locks is how tunnels may be there.
func (p *pairs) locks() map[string][intent.Slots]mesh.Preshared {
	a := p.agreed()
	if a == nil {
		return nil
	}
	states := a.States()
	out := make(map[string][intent.Slots]mesh.Preshared, len(states))
	for name, list := range states {
		var locks [intent.Slots]mesh.Preshared
		for s := range list {
			locks[s] = mesh.Preshared(list[s])
		}
		out[name] = locks
	}
	return out
}

// facts are what who proves paths knows of tunnels; false before it knows anything.
func (p *pairs) facts() (map[string][intent.Slots]preshared.Fact, bool) {
	at := p.at()
	if at == nil {
		return nil, false
	}
	tunnels := at.Tunnels()
	out := make(map[string][intent.Slots]preshared.Fact, len(tunnels))
	for name, list := range tunnels {
		var facts [intent.Slots]preshared.Fact
		for s := range list {
			facts[s] = preshared.Fact(list[s])
		}
		out[name] = facts
	}
	return out, true
}

// locked is how a pair stands with its pre-shared key.
func (p *pairs) locked(e mesh.Explanation) string {
	of := keyring.Tunnel{Peer: e.Peer, Slot: e.KeySlot, Own: e.Ends[0], Theirs: e.Ends[1]}
	id, made, ok := p.ring.PresharedOf(of)
	if !ok || id != e.Key || e.Preshared != "" {
		return e.Preshared
	}
	out := fmt.Sprintf("%s, agreed %s, by ML-KEM-768, ", preshared.Short(id), made.Local().Format(time.DateTime))
	if e.Confirmed.IsZero() {
		return out + "no handshake with it yet"
	}
	return out + "confirmed by the handshake of " + e.Confirmed.Local().Format(time.TimeOnly)
}

// keyless tells whether the node sends by a tunnel without a pre-shared key since before
// keys were wanted. It gets one in the other slot: the node changes its key.
func keyless(n intent.Node, own []intent.Slot, choices map[string]mesh.Choice) bool {
	if !n.Cluster.PostQuantum {
		return false
	}
	for i := range n.Peers {
		c, ok := choices[n.Peers[i].Name]
		if !ok || !n.Peers[i].Preshared || !c.Rung.Sealed() || c.Peers[c.Slot].PSK != [32]byte{} {
			continue
		}
		for _, s := range own {
			if s.Slot == c.Slot && !s.Leaving {
				return true
			}
		}
	}
	return false
}
