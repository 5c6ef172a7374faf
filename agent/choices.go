package agent

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/disco"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// carry are choices in which relays have their addresses.
type carry struct {
	of  map[string]mesh.Choice // as chosen
	out map[string]mesh.Choice
}

// chose runs when choices are others. What is to be set in a device must be compared
// with the device itself: WireGuard follows its peers wherever they come from.
func (p *pairs) chose() {
	p.mu.Lock()
	if p.paths == nil {
		p.mu.Unlock()
		return
	}
	now := p.paths.Choices()
	look := false
	for name, c := range now {
		was := p.last[name]
		for slot, peer := range c.Peers {
			look = look || peer != was.Peers[slot] && (peer.Endpoint.IsValid() || peer.Relayed)
		}
	}
	p.last = now
	p.mu.Unlock()
	p.relay.Changed() // who is reached straight
	p.changed(look)
}

// choices are by which way each peer is sent to, with the addresses of relays, and the
// node's own devices; nil while no pair chooses. The map is the same while nothing
// changes.
func (p *pairs) choices() (map[string]mesh.Choice, []intent.Slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paths == nil {
		return nil, nil
	}
	now := p.paths.Choices()
	if p.carry.out == nil || reflect.ValueOf(now).Pointer() != reflect.ValueOf(p.carry.of).Pointer() {
		p.carry = carry{now, p.relayed(now)}
	}
	return p.carry.out, p.ring.Slots()
}

// relayed says which relay carries what is sent to each peer, and gives each choice of a
// relay its address on this machine.
func (p *pairs) relayed(now map[string]mesh.Choice) map[string]mesh.Choice {
	for name, c := range now {
		for slot, peer := range c.Peers {
			as := peer.Endpoint
			if peer.Relayed {
				as = netip.AddrPort{}
			}
			if err := p.relay.As(name, uint8(slot), as); err != nil {
				p.log.Warn("relay not used", note.Node, name, note.Err, err)
			}
			if !peer.There || !peer.Relayed && c.Rung < mesh.ByNode {
				continue
			}
			if err := p.relay.Use(name, uint8(slot), peer.Via); err != nil {
				p.log.Warn("relay not used", note.Node, name, note.Err, err)
			}
		}
	}
	p.relay.Keep(func(peer string) bool { _, ok := now[peer]; return ok })
	return p.placed(now)
}

// placed are choices with the addresses of relays, all of which are asked for before the
// first is waited for.
func (p *pairs) placed(now map[string]mesh.Choice) map[string]mesh.Choice {
	out := now
	for name, c := range now {
		next := c
		for slot, peer := range c.Peers {
			if peer.There && peer.Relayed {
				next.Peers[slot].Endpoint = p.local(name, uint8(slot))
			}
		}
		if next == c {
			continue
		}
		if reflect.ValueOf(out).Pointer() == reflect.ValueOf(now).Pointer() {
			out = maps.Clone(now)
		}
		out[name] = next
	}
	return out
}

// local is where a device reaches a peer over a relay; zero if nowhere.
func (p *pairs) local(peer string, slot uint8) netip.AddrPort {
	at, err := p.relay.Endpoint(peer, slot)
	if err != nil {
		p.log.Warn("relay not used", note.Node, peer, note.Err, err)
	}
	return at
}

// device is the UDP port of the node's own device of a slot.
func (p *pairs) device(slot uint8) uint16 {
	for _, s := range p.ring.Slots() {
		if s.Slot == slot {
			return s.Port
		}
	}
	return 0
}

// straight tells whether a node is reached without a node between, if that is known: at
// the start what an agent before knew stands.
func (p *pairs) straight(node string) (straight, known bool) {
	at := p.at()
	if at == nil {
		return false, false
	}
	rung := at.Choices()[node].Rung
	return rung != mesh.ByNode, rung != mesh.None
}

// secret is what only this node and a peer know, by their keys of a slot.
func (p *pairs) secret(peer string, slot uint8) ([32]byte, bool) {
	n, _ := p.intent()
	other, _ := n.Peer(peer)
	theirs, ok := other.SlotOf(slot)
	for _, s := range p.ring.Slots() {
		if s.Slot == slot && ok {
			private, has := p.ring.Private(s.Key)
			secret, err := disco.Shared(private, [32]byte(theirs.Key))
			return secret, has && err == nil
		}
	}
	return [32]byte{}, false
}

// probed takes a probe that came over a relay.
func (p *pairs) probed(via mesh.Via, peer string, slot uint8, b []byte) {
	if at := p.at(); at != nil {
		at.Relayed(via, peer, slot, b)
	}
}

// lacking tells whether a pair has no choice yet: what the kernel has of it is kept.
func lacking(n intent.Node, choices map[string]mesh.Choice) bool {
	if !n.Cluster.Meshed() {
		return false
	}
	for _, p := range n.Peers {
		if _, ok := choices[p.Name]; !ok && p.Name != n.Name {
			return true
		}
	}
	return false
}

// hush takes toward whom nothing answers; servers hear of it with the next turn.
func (p *pairs) hush(silent []string) {
	p.mu.Lock()
	same := slices.Equal(p.mute, silent)
	p.mute = silent
	p.mu.Unlock()
	if !same {
		p.changed(false)
	}
}

// silent are the peers toward whom nothing answers, sorted.
func (p *pairs) silent() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mute
}

// left tells whether a pair is still sent to by a carrier that the fabric leaves.
func left(c intent.Cluster, self, peer intent.Peer, choice mesh.Choice) bool {
	sends := c.Carrier()
	if len(c.Receive) == 0 || !sends.Meshed() {
		return false
	}
	c.Receive, c.Behind = nil, nil
	may := c.Ways(self, peer)
	switch choice.Rung {
	case mesh.None:
		return false
	case mesh.Direct:
		return !may.Direct.OK
	case mesh.VXLAN:
		return !may.VXLAN.OK || choice.Spare != sends.Spare
	}
	return !may.WireGuard.OK
}
