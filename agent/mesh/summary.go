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
	// Unheard are the peers whose agent has said nothing for a while, sorted: it is away,
	// though the kernel there may answer.
	Unheard []string
	// Stuck are the peers whose probes are answered while WireGuard is not, sorted: of
	// one of the two the clock went back, or the keys do not agree. New keys mend it.
	Stuck []string
	// Slots are the peers that keep a WireGuard slot in use, sorted: this node or the
	// peer sends by it, or it is not known by what the peer does.
	Slots [intent.Slots][]string
	// Vain are the slots of which nobody makes use: none of Slots, and nothing has come out
	// of their tunnels for as long as a pair takes to prove one.
	Vain [intent.Slots]bool
}

// Summary tells where all pairs stand. It costs a look at each.
func (m *Machine) Summary() Summary {
	s := Summary{Rungs: map[Rung]int{}, Pairs: len(m.pairs)}
	for slot := range s.Vain {
		s.Vain[slot] = m.now.Sub(m.made[slot]) > vainAfter
	}
	for name, p := range m.pairs {
		s.Rungs[p.choice.Rung]++
		if p.at == nil || !p.at.up {
			s.Down++
		}
		if p.silent(m.now) {
			s.Silent = append(s.Silent, name)
		}
		if p.unheard(m.now) {
			s.Unheard = append(s.Unheard, name)
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
			s.Vain[slot] = s.Vain[slot] && !p.keeps(uint8(slot)) && p.tunnels[slot].vain(m.now)
		}
	}
	slices.Sort(s.Old)
	slices.Sort(s.Silent)
	slices.Sort(s.Unheard)
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

// unheardAfter is longer than the agents of a pair are silent toward each other.
const unheardAfter = warmMax + 15*time.Second

// unheard tells whether the peer's agent has said nothing since a while, nor since it is
// known here.
func (p *pair) unheard(now time.Time) bool {
	return now.Sub(later(p.heard, p.born)) > unheardAfter
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

// vainAfter is longer than a pair whose slot goes stays there once the other is proved,
// and than a handshake takes of which the first message was lost (WireGuard, section 6.1,
// Rekey-Timeout).
const vainAfter = patient + 5*time.Second

// vain tells whether nothing has come out of the tunnel since a while, though both ends
// have a device. A peer that had proved it would ask by it every few seconds.
func (t *tunnel) vain(now time.Time) bool {
	return !t.there || now.Sub(later(later(t.fed, t.line().answered), t.begun)) > vainAfter
}
