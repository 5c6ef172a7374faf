package agent

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/weft-net/weft/agent/keyring"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/preshared"
	"github.com/weft-net/weft/proto/intent"
	presharedwire "github.com/weft-net/weft/proto/preshared"
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
	names func() (map[string]bool, bool) // of nodes that there are; false: not known
}

func (s shelf) Find(of preshared.Tunnel) ([32]byte, bool) {
	id, _, ok := s.ring.PresharedOf(keyring.Tunnel(of))
	return id, ok
}

// Keep forgets the keys of nodes that are gone, too: it is the moment at which keys
// become more.
func (s shelf) Keep(of preshared.Tunnel, key [32]byte) ([32]byte, error) {
	if names, ok := s.names(); ok {
		if err := s.ring.KeepPreshared(func(peer string) bool { return names[peer] }); err != nil {
			return [32]byte{}, err
		}
	}
	return s.ring.SetPreshared(keyring.Tunnel(of), key)
}

func (s shelf) Drop(id [32]byte) error { return s.ring.DropPreshared(id) }

// names are those of all nodes; false while they are not known.
func (p *pairs) names() (map[string]bool, bool) {
	n, held := p.intent()
	out := make(map[string]bool, len(n.Peers))
	for i := range n.Peers {
		out[n.Peers[i].Name] = true
	}
	return out, held
}

// agreed is who agrees on pre-shared keys; nil while no pair chooses.
func (p *pairs) agreed() *preshared.Agreement {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agree
}

// deaf is why this node hears nobody who is to agree on a pre-shared key; nil: it does.
func (p *pairs) deaf() error {
	if a := p.agreed(); a != nil {
		return a.Deaf()
	}
	return nil
}

// unkeyed is that the port is somebody else's at which peers agree on pre-shared keys.
func unkeyed(why error) []intent.Problem {
	if why == nil {
		return nil
	}
	cause := why.Error()
	if errors.Is(why, syscall.EADDRINUSE) {
		cause = "something else has it"
	}
	return []intent.Problem{{
		Subject: fmt.Sprintf("UDP port %d", presharedwire.Port), Cause: cause + "; no peer agrees with this node on a pre-shared key: pairs stay as they are, and new ones have no WireGuard",
		Remedy: fmt.Sprintf("ss -lunp 'sport = :%d' tells whose it is: have that listen elsewhere, or on addresses outside of the fabric; it is tried again every few seconds", presharedwire.Port),
	}}
}

// locks is how tunnels may be there.
func (p *pairs) locks() map[string][intent.Slots]mesh.Preshared {
	a := p.agreed()
	if a == nil {
		return nil
	}
	return slots(a.States(), func(s preshared.State) mesh.Preshared { return mesh.Preshared(s) })
}

// facts are what who proves paths knows of tunnels; false before it knows anything.
func (p *pairs) facts() (map[string][intent.Slots]preshared.Fact, bool) {
	at := p.at()
	if at == nil {
		return nil, false
	}
	return slots(at.Tunnels(), func(t mesh.Tunnel) preshared.Fact { return preshared.Fact(t) }), true
}

// slots says in one room's words what another says of tunnels.
func slots[A, B any](in map[string][intent.Slots]A, of func(A) B) map[string][intent.Slots]B {
	out := make(map[string][intent.Slots]B, len(in))
	for name, list := range in {
		var said [intent.Slots]B
		for s := range list {
			said[s] = of(list[s])
		}
		out[name] = said
	}
	return out
}

// locked is how a pair stands with its pre-shared key.
func (p *pairs) locked(e mesh.Explanation) string {
	of := keyring.Tunnel{Peer: e.Peer, Slot: e.KeySlot, Own: e.Ends[0], Theirs: e.Ends[1]}
	id, made, ok := p.ring.PresharedOf(of)
	switch {
	case e.Preshared != "" && p.deaf() != nil:
		return fmt.Sprintf("%s: UDP port %d of %s is not weft's", e.Preshared, presharedwire.Port, p.node)
	case !ok || id != e.Key || e.Preshared != "":
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
