package paths

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/echo"
	"github.com/weft-net/weft/proto/intent"
)

// Times of asking the echo: between two rounds, which keeps the translator's entry
// (RFC 4787, REQ-5: two minutes, in practice half of one), between the tries of one,
// and how many there are.
const (
	askEvery = 25 * time.Second
	askAgain = 500 * time.Millisecond
	askTries = 3
	askSoon  = 100 * time.Millisecond // after a change, so that several are one
)

// question is one datagram to the echo and what became of it.
type question struct {
	slot     intent.Slot
	to       netip.AddrPort
	id       uint64
	sent     bool           // the kernel took it
	observed netip.AddrPort // zero: no answer
}

// asker asks in rounds. A round is all slots by all ports of the server in each family.
type asker struct {
	offer Offer
	round []question
	tries int
	due   time.Time // of the next try, or round; zero: never
	nat   map[bool]intent.NAT
}

func newAsker() asker { return asker{nat: map[bool]intent.NAT{}} }

// offered takes a new offer.
func (a *asker) offered(o Offer, now time.Time) {
	same := slices.Equal(a.offer.Addrs, o.Addrs) && slices.Equal(a.offer.Ports, o.Ports)
	a.offer = o
	if !same {
		a.again(now)
	}
}

// again begins a round soon.
func (a *asker) again(now time.Time) {
	a.round, a.tries = nil, 0
	a.due = now.Add(askSoon)
}

// next is when to ask; zero: not at all.
func (a *asker) next() time.Time {
	if len(a.offer.Addrs) == 0 {
		return time.Time{}
	}
	return a.due
}

// class is the NAT of a family; empty: not known.
func (a *asker) class(is4 bool) intent.NAT { return a.nat[is4] }

// begin makes the questions of a round.
func (a *asker) begin(slots []intent.Slot) {
	for _, s := range slots {
		for _, addr := range a.offer.Addrs {
			for _, port := range a.offer.Ports {
				a.round = append(a.round, question{slot: s, to: netip.AddrPortFrom(addr, port), id: drawn()})
			}
		}
	}
}

// ask does what is due: begins a round, tries again, or ends it. It answers whether a
// class of NAT has changed.
func (d *driver) ask(now time.Time) (changed bool) {
	a := &d.asker
	if at := a.next(); at.IsZero() || now.Before(at) {
		return false
	}
	if !now.Before(a.offer.Until) {
		a.due = now.Add(askEvery) // the server renews it long before
		return false
	}
	if a.tries == 0 {
		a.begin(d.slots)
	}
	if a.tries == askTries || a.tries > 0 && a.complete() {
		changed = d.judge()
		a.round, a.tries, a.due = nil, 0, now.Add(askEvery)
		return changed
	}
	for i := range a.round {
		q := &a.round[i]
		if q.observed.IsValid() {
			continue
		}
		m := echo.Request{ID: q.id, Cookie: a.offer.Cookie}.Bytes()
		if err := d.wire.Send(probe.Datagram{Port: q.slot.Port, Remote: q.to, Data: m}); err == nil {
			q.sent = true
		}
	}
	a.tries++
	a.due = now.Add(askAgain)
	return false
}

// complete tells whether every question that was sent is answered.
func (a *asker) complete() bool {
	return !slices.ContainsFunc(a.round, func(q question) bool { return q.sent && !q.observed.IsValid() })
}

// heardEcho takes a reply: it must answer a question, and come from where that went.
func (d *driver) heardEcho(r echo.Reply, g probe.Datagram, now time.Time) {
	i := slices.IndexFunc(d.asker.round, func(q question) bool {
		return q.id == r.ID && q.to == g.Remote && q.slot.Port == g.Port && !q.observed.IsValid()
	})
	if i < 0 || r.Observed.Addr().Is4() != g.Remote.Addr().Is4() {
		d.counts.add(unasked)
		return
	}
	q := &d.asker.round[i]
	q.observed = r.Observed
	changed := usable(r.Observed.Addr()) && d.pool.put(intent.Candidate{Addr: r.Observed, Slot: q.slot.Slot, Source: intent.FromEcho}, now)
	if d.asker.complete() {
		d.asker.due = now // the round ends
	}
	if changed {
		d.tell(now)
	}
}

// judge finds the class of each family from a round.
func (d *driver) judge() (changed bool) {
	for _, is4 := range []bool{true, false} {
		c := classOf(d.asker.round, is4, d.addrs)
		if c == intent.NATBlocked && d.asker.offer.Addrs[0].Is4() != is4 {
			c = "" // nothing says that the server is reached by that family at all
		}
		changed = changed || c != d.asker.nat[is4]
		d.asker.nat[is4] = c
	}
	return changed
}

// classOf is what a round says of a family: of the first slot that got two answers.
// With one answer it is not known whether the other destination would see the same.
func classOf(round []question, is4 bool, own []netip.Addr) intent.NAT {
	asked, answered := false, false
	bySlot := map[uint8]question{}
	for _, q := range round {
		if q.to.Addr().Is4() != is4 || !q.sent {
			continue
		}
		asked = true
		if !q.observed.IsValid() {
			continue
		}
		answered = true
		first, ok := bySlot[q.slot.Slot]
		switch {
		case !ok:
			bySlot[q.slot.Slot] = q
		case first.observed != q.observed:
			return intent.NATHard
		case slices.Contains(own, q.observed.Addr()) && q.observed.Port() == q.slot.Port:
			return intent.NATNone
		default:
			return intent.NATEasy
		}
	}
	if asked && !answered {
		return intent.NATBlocked
	}
	return ""
}

func drawn() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
