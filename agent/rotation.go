package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/local"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// How often the keys are looked at: of a node in whose pairs nothing is under way, and
// while it has two devices.
const (
	keysEvery   = 10 * time.Minute
	movingEvery = time.Second
)

// mostTurns bounds the turns that follow each other at once.
const mostTurns = 4

// turns does what is next with the node's keys: see mesh.Rotation. Who asks for other
// keys does so beside the goroutine that sees to them.
func (p *pairs) turns(now time.Time) error {
	p.turning.Lock()
	defer p.turning.Unlock()
	for range mostTurns {
		r, ok := p.rotation(now)
		if !ok {
			return nil
		}
		turn, slot, why := r.Next()
		var err error
		switch turn {
		case mesh.Keep:
			return nil
		case mesh.Make:
			err = p.ring.Need(slot, p.free(slot))
		case mesh.Leave:
			err = p.ring.Leave(slot)
			p.asked.Store(false)
		case mesh.Drop:
			err = p.ring.Drop(slot)
		}
		if err != nil {
			return err
		}
		p.log.Info("WireGuard key turned", note.Op, turn.String(), note.Slot, slot, note.Why, why)
		p.at().Kick()
		p.changed(false)
	}
	return nil
}

// rotation is what the next turn is found by; false if the node cannot have devices.
func (p *pairs) rotation(now time.Time) (mesh.Rotation, bool) {
	n, _ := p.intent()
	at := p.at()
	if at == nil || p.made() == "" {
		return mesh.Rotation{}, false
	}
	self, _ := n.Self()
	self.Slots = p.ring.Slots()
	others := slices.DeleteFunc(slices.Clone(n.Peers), func(o intent.Peer) bool { return o.Name == n.Name })
	s := at.Summary()
	return mesh.Rotation{
		Self: self, Peers: others, Used: s.Slots, Pairs: s.Pairs, Old: p.oldest(), Stale: p.stale(), Vain: s.Vain,
		Due: p.asked.Load() || p.old(n.Cluster, now) || keyless(n, self.Slots, at.Choices()),
	}, true
}

// stale are the slots that would have another port if they were made now.
func (p *pairs) stale() (out [intent.Slots]bool) {
	for _, s := range p.ring.Slots() {
		out[s.Slot] = s.Port != p.free(s.Slot)
	}
	return out
}

// oldest is the slot of the key that was made first.
func (p *pairs) oldest() uint8 {
	zero, _ := p.ring.Made(0)
	one, ok := p.ring.Made(1)
	if ok && one.Before(zero) {
		return 1
	}
	return 0
}

// old tells whether a key that stays is older than the cluster wants it, or listens on
// another port.
func (p *pairs) old(c intent.Cluster, now time.Time) bool {
	for _, s := range p.ring.Slots() {
		made, _ := p.ring.Made(s.Slot)
		aged := c.KeyDays > 0 && now.Sub(made) > time.Duration(c.KeyDays)*24*time.Hour
		if !s.Leaving && (aged || s.Port != p.port(s.Slot)) {
			return true
		}
	}
	return false
}

// port is the UDP port of a slot.
func (p *pairs) port(slot uint8) uint16 {
	n, _ := p.intent()
	return intent.WireGuardPort(cmp.Or(n.Cluster.WireGuardPort, wireguardPort), p.ring.Shift(), slot)
}

// free is the port of a key that is to be made: the slot's, unless the other slot's
// device still has it, as when the cluster's port is raised by one. Then it is one
// beside those of both slots, and the next turns go from there to the slot's.
func (p *pairs) free(slot uint8) uint16 {
	taken := []uint16{p.device(1 - slot)}
	n, _ := p.intent()
	for _, k := range n.Cluster.VXLANs() {
		taken = append(taken, k.Port)
	}
	base := p.port(0)
	for _, port := range []uint16{p.port(slot), base + 2, base - 1, base + 3, base - 2} {
		if port != 0 && !slices.Contains(taken, port) {
			return port
		}
	}
	return p.port(slot)
}

// errNoKeys refuses a rotation. Nothing is done then, nor remembered: to whom asks until
// it begins, keys would be changed for ever.
var errNoKeys = errors.New("no pair of this node's fabric uses WireGuard, so there is no key")

// takenWithin is how long the servers may take to tell all nodes of a new key.
const takenWithin = 8 * time.Second

// Rotate changes the node's key because a person wants it, and returns when peers are
// told of the new one.
func (p *pairs) Rotate(ctx context.Context) (local.Rotated, error) {
	at := p.at()
	if at == nil || len(p.ring.Slots()) == 0 {
		return local.Rotated{}, errNoKeys
	}
	p.asked.Store(true)
	if err := p.turns(time.Now()); err != nil {
		return local.Rotated{}, err
	}
	n, _ := p.intent()
	if p.asked.Swap(false) {
		return local.Rotated{}, busy(n, p.ring.Slots(), at.Summary().Slots)
	}
	out := local.Rotated{Pairs: len(at.Choices())}
	for _, s := range p.ring.Slots() {
		if !s.Leaving {
			out.Slot, out.Key = s.Slot, s.Key
		}
	}
	return out, p.taken(ctx, out.Key)
}

// busy says why other keys cannot be made now: whose are being changed, and for whom
// that waits.
func busy(n intent.Node, own []intent.Slot, users [intent.Slots][]string) error {
	for _, s := range own {
		if s.Leaving && len(users[s.Slot]) > 0 {
			return fmt.Errorf("keys are being changed already: the old one of %s waits for %s; ask again when it has gone, or see weft status", n.Name, some(users[s.Slot]))
		}
	}
	if who := changing(n); len(who) > 0 {
		return fmt.Errorf("keys are being changed already, those of %s first and this node's as well; ask again when that is done, or see weft status", some(who))
	}
	return errors.New("keys are being changed already, this node's as well; ask again when that is done")
}

// changing are the other nodes with a key that is to go.
func changing(n intent.Node) (out []string) {
	for _, peer := range n.Peers {
		if peer.Name != n.Name && slices.ContainsFunc(peer.Slots, func(s intent.Slot) bool { return s.Leaving }) {
			out = append(out, peer.Name)
		}
	}
	return out
}

// taken waits until the servers tell of a key that the node has reported.
func (p *pairs) taken(ctx context.Context, key intent.Key) error {
	ctx, cancel := context.WithTimeout(ctx, takenWithin)
	defer cancel()
	for {
		n, _ := p.intent()
		self, _ := n.Self()
		if slices.ContainsFunc(self.Slots, func(s intent.Slot) bool { return s.Key == key }) {
			return nil
		}
		if !pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the new key %v is made, but no server has told it to others, so that the old one stays in use: weft status has what is wrong with the report of %s", key, n.Name)
		}
	}
}

// Explain tells how the node sends to a peer.
func (p *pairs) Explain(peer string) (mesh.Explanation, bool) {
	if at := p.at(); at != nil {
		e, ok := at.Explain(peer)
		e.Preshared, e.Port = p.locked(e), p.shifted()
		if n, _ := p.intent(); ok && e.Rung > mesh.WireGuard && e.Climb != "" {
			e.Climb = cmp.Or(clashed(n, n.Name), clashed(n, peer), e.Climb)
		}
		return e, ok
	}
	return mesh.Explanation{}, false
}
