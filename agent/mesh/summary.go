package mesh

import (
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// Summary is where all pairs stand.
type Summary struct {
	Rungs map[Rung]int
	Pairs int
	Down  int // pairs whose way does not answer, or that have none
	// Old are the peers toward whom the node still sends as the carrier that the
	// cluster goes to does not permit, sorted.
	Old []string
	// Silent are the peers toward whom the node sends by a way that has not answered for
	// a while, and has no better one; sorted.
	Silent []string
	// Stuck are the peers whose probes are answered while WireGuard is not, sorted: of
	// one of the two the clock went back, or the keys do not agree. New keys mend it.
	Stuck []string
	// Slots are the peers that keep a WireGuard slot in use, sorted: this node or the
	// peer sends by it, or it is not known by what the peer does.
	Slots [intent.Slots][]string
}

// Summary tells where all pairs stand. It costs a look at each.
func (m *Machine) Summary() Summary {
	s := Summary{Rungs: map[Rung]int{}, Pairs: len(m.pairs)}
	for name, p := range m.pairs {
		s.Rungs[p.choice.Rung]++
		if p.at == nil || !p.at.up {
			s.Down++
		}
		if p.silent(m.now) {
			s.Silent = append(s.Silent, name)
		}
		if p.at != nil && !p.at.meant {
			s.Old = append(s.Old, name)
		}
		for slot := range p.tunnels {
			if p.tunnels[slot].stuck(m.now) {
				s.Stuck = append(s.Stuck, name)
			}
		}
		for slot := range s.Slots {
			if p.keeps(uint8(slot)) {
				s.Slots[slot] = append(s.Slots[slot], name)
			}
		}
	}
	slices.Sort(s.Old)
	slices.Sort(s.Silent)
	slices.Sort(s.Stuck)
	for _, list := range s.Slots {
		slices.Sort(list)
	}
	return s
}

// silentAfter is longer than a pair needs to find another way, or for a first handshake
// that was lost once.
const silentAfter = 10 * time.Second

// silent tells whether nothing answers by the way that the pair sends.
func (p *pair) silent(now time.Time) bool {
	return p.at != nil && !p.at.up && now.Sub(later(p.at.answered, p.entered)) > silentAfter
}

// linger is how long a slot stays after the last use by either end that is known: what
// an agent says that it sends by, its kernel does a moment later.
const linger = 5 * time.Second

// keeps tells whether a slot is in use by either end, or was a moment ago.
func (p *pair) keeps(slot uint8) bool {
	o := Over{Rung: WireGuard, Slot: slot}
	if !p.tunnels[slot].there {
		return false
	}
	return p.sending() == o || !p.says || p.sends == o || p.m.now.Sub(p.tunnels[slot].kept) < linger
}
