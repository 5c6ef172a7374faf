package preshared

import (
	"time"

	wire "github.com/weft-net/weft/proto/preshared"
)

// step does what is due for a pair, and says when something is next.
func (p *pair) step(now time.Time) (next time.Time) {
	for i := range p.slots {
		s := &p.slots[i]
		if s.key == ([32]byte{}) || !p.peer.Slots[i].There {
			continue
		}
		if !s.applied {
			if s.applied = !now.Before(s.from); !s.applied {
				next = first(next, s.from)
			}
		}
		if p.lower() && !s.settled && p.m.wanted && p.peer.Able {
			next = first(next, p.try(uint8(i), now))
		}
	}
	if n, ok := p.target(); ok && p.lower() {
		next = first(next, p.try(n, now))
	}
	return next
}

func first(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// try says to the other end what is to be said about a tunnel, if it is time.
func (p *pair) try(n uint8, now time.Time) time.Time {
	s := &p.slots[n]
	if now.Before(s.next) {
		return s.next
	}
	wait := min(again<<min(s.tries, 10), least)
	if s.key != ([32]byte{}) && !s.applied {
		wait = again // the other end listens for linger only
	}
	s.tries++
	s.next = now.Add(wait)
	if s.key != ([32]byte{}) {
		p.say(n, p.via(n), wire.Have, s.key)
		return s.next
	}
	if s.offer == nil {
		var err error
		if s.offer, err = wire.NewExchange(); err != nil {
			p.m.failed(err)
			return s.next
		}
	}
	p.sayAll(n, p.via(n), wire.Offer, s.offer.ID(), s.offer.Offered())
	return s.next
}

func (p *pair) say(n, via uint8, kind wire.Kind, id [32]byte) {
	p.m.sends = append(p.m.sends, Send{p.peer.Name, via, wire.Message{Kind: kind, Slot: n, Pair: p.id(n), ID: id}})
}

func (p *pair) sayAll(n, via uint8, kind wire.Kind, id [32]byte, body []byte) {
	for _, m := range (wire.Message{Kind: kind, Slot: n, Pair: p.id(n), ID: id}).Split(body) {
		p.m.sends = append(p.m.sends, Send{p.peer.Name, via, m})
	}
}

// hear takes a message.
func (p *pair) hear(via uint8, in wire.Message, now time.Time) {
	n := in.Slot
	if !p.m.wanted || !p.peer.Slots[n].There || in.ID == ([32]byte{}) || in.Pair != p.id(n) || in.Kind.Lower() == p.lower() {
		return
	}
	switch in.Kind {
	case wire.Offer:
		p.offered(n, via, in, now)
	case wire.Answer:
		p.answered(n, via, in, now)
	case wire.Have:
		p.has(n, via, in, now)
	case wire.Agreed:
		p.agreed(n, in, now)
	case wire.Unknown:
		if s := &p.slots[n]; s.key == in.ID && !s.settled {
			p.forget(n)
		}
	}
}

// answers is how often another exchange of one tunnel is taken up at most.
const answers = 200 * time.Millisecond

// offered answers an encapsulation key: one that was answered already as before.
func (p *pair) offered(n, via uint8, in wire.Message, now time.Time) {
	s := &p.slots[n]
	if p.before(n) {
		return
	}
	body, whole := s.offered.Add(in)
	if !whole {
		return
	}
	if in.ID != wire.IDOf(body) || s.exchange != in.ID && now.Sub(s.at) < answers {
		s.offered = wire.Whole{}
		return
	}
	if s.exchange != in.ID {
		key, ciphertext, err := wire.Respond(in.Pair, body)
		s.offered = wire.Whole{}
		if err != nil {
			return
		}
		s.pending, s.answered, s.exchange, s.at = key, ciphertext, in.ID, now
	}
	s.offered = wire.Whole{}
	p.sayAll(n, via, wire.Answer, in.ID, s.answered)
}

// answered ends the lower-named end's part: it holds the key, and says so.
func (p *pair) answered(n, via uint8, in wire.Message, now time.Time) {
	s := &p.slots[n]
	if s.key != ([32]byte{}) || s.offer == nil || in.ID != s.offer.ID() {
		return
	}
	body, whole := s.answer.Add(in)
	if !whole {
		return
	}
	key, err := s.offer.Finish(in.Pair, body)
	if err != nil {
		s.answer = wire.Whole{}
		return
	}
	from := now
	if via == n { // the other end has yet to be told in this very tunnel; it may have been, and its answers be lost
		from = now.Add(silence)
	}
	if p.hold(n, key, from) {
		p.try(n, now)
	}
}

// has answers whether the key that the other end holds is held here too.
func (p *pair) has(n, via uint8, in wire.Message, now time.Time) {
	s := &p.slots[n]
	if s.key != in.ID && s.pending != ([32]byte{}) && wire.IDOf(s.pending[:]) == in.ID {
		from := now
		if via == n {
			from = now.Add(linger)
		}
		p.hold(n, s.pending, from)
	}
	if s.key != in.ID {
		p.say(n, via, wire.Unknown, in.ID)
		return
	}
	s.settled = true
	p.say(n, via, wire.Agreed, in.ID)
}

// agreed ends the agreement.
func (p *pair) agreed(n uint8, in wire.Message, now time.Time) {
	s := &p.slots[n]
	if s.key != in.ID || s.settled || s.key == ([32]byte{}) {
		return
	}
	s.settled, s.from = true, now
}
