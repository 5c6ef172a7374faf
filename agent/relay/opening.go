package relay

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	wire "github.com/weft-net/weft/proto/relay"
)

// WireGuard asks for a session with one packet, and again only after 5 s (REKEY_TIMEOUT,
// wireguard.com/papers/wireguard.pdf, section 6.1). Over a relay that the peer is just
// about to join, or to a peer whose device does not know this node yet, the first ones are
// lost, and with them the pair for as long. So what asks is sent again meanwhile: a peer
// that has had it throws it away, by its timestamp.
//
// For the first 5 s that is 13 times, 2.6 a second and pair, of 148 bytes. A peer that has
// not answered in that time is asked five times in the next; and all together are at most
// openingsMost in openingsEvery, 1,280 a second, however many are dark.
const (
	openingSize    = 148 // bytes (section 5.4.2)
	openingType    = 1
	dataType       = 4 // section 5.4.6
	openingLasts   = 5 * time.Second
	openingCounts  = 8 * time.Second        // for which one in vain counts for the next: some time after the device asks anew
	openingFirst   = 100 * time.Millisecond // pause before it is sent again, doubled each time
	openingLongest = 400 * time.Millisecond // pause to a peer that was not asked in vain before
	openingLeast   = 100 * time.Millisecond // between two of one
	openingsEvery  = 50 * time.Millisecond  // between looks
	openingsMost   = 64                     // sent in one look

	// Where the ephemeral key is, which is not encrypted (section 5.4.2).
	ephemeralFrom, ephemeralTo = 8, 40

	// crossing is for how long the peer is to answer before it may ask itself: meanwhile
	// it has been asked four times.
	crossing = time.Second
)

// opening is a packet that asks for a session, and has no answer yet.
type opening struct {
	packet [openingSize]byte
	at     time.Duration // since the Relay's start
	late   bool          // the one before was not answered either
	urged  atomic.Bool   // the peer has just asked, and was not heard: it takes ours by now

	// Of reopen alone.
	last  time.Duration // sent
	times int           // that it was sent again
}

// due tells whether it is to be sent again, and whether it may be later.
func (o *opening) due(now time.Duration) (due, left bool) {
	if now-o.at >= openingLasts {
		return false, false
	}
	pause := openingFirst << min(o.times, 6)
	if !o.late {
		pause = min(pause, openingLongest)
	}
	if now-o.last >= openingLeast && o.urged.Swap(false) {
		pause = 0
	}
	return now-o.last >= pause, true
}

// note remembers a packet that asks for a session.
func (p *port) note(b *burst) {
	for _, c := range b.came {
		if c.size != openingSize || b.buf[c.from] != openingType {
			continue
		}
		was := p.opening.Load()
		if was != nil && bytes.Equal(was.packet[:], b.buf[c.from:c.to]) {
			continue // the device's process asks again itself
		}
		now := p.r.clock()
		o := &opening{at: now, last: now, late: was != nil && now-was.at < openingCounts}
		copy(o.packet[:], b.buf[c.from:c.to])
		p.opening.Store(o)
		signal(p.r.openings)
	}
}

// beats tells whether a packet of the peer's that asks for a session is not to be heard,
// as ours asks for the same and is the one of the two that is answered. Two nodes that
// have just heard of each other ask at the same moment; a device that takes the other's
// packet forgets its own (noise.c, wg_noise_handshake_consume_initiation), so that
// neither would take the other's answer, and both would ask again after 5 s, at the same
// moment. Both ends see both packets, and the smaller ephemeral key wins. Ours is sent
// again until something comes, and at once when the peer asks: it knows this node by then.
// If nothing comes, the peer's is heard after all.
func (o *opening) beats(packet []byte, now time.Duration) bool {
	return o != nil && now-o.at < crossing && len(packet) == openingSize && packet[0] == openingType &&
		bytes.Compare(o.packet[ephemeralFrom:ephemeralTo], packet[ephemeralFrom:ephemeralTo]) < 0
}

// isData tells whether a packet is of a session.
func isData(packet []byte) bool { return len(packet) > 0 && packet[0] == dataType }

// reopen sends again what asks for sessions.
func (r *Relay) reopen(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.openings:
		}
		for r.ask() {
			if !pause(ctx, openingsEvery) {
				return nil
			}
		}
	}
}

// ask sends again what is due, and tells whether anything is left.
func (r *Relay) ask() (left bool) {
	var all []*port
	r.mu.RLock()
	for _, p := range r.ports {
		if p.opening.Load() != nil {
			all = append(all, p)
		}
	}
	r.mu.RUnlock()
	now, most := r.clock(), openingsMost
	for _, p := range all {
		o := p.opening.Load()
		if o == nil || most == 0 {
			left = left || o != nil
			continue
		}
		due, later := o.due(now)
		if left = left || later; due {
			most--
			o.times, o.last = o.times+1, now
			p.again(o)
		}
	}
	return left
}

// again sends an opening as the port does.
func (p *port) again(o *opening) {
	via, l := p.way()
	switch {
	case l != nil:
		_ = l.conn.SendDatagram(wire.AppendHead(nil, wire.Packets, p.key.slot, openingSize, p.key.peer), o.packet[:]) // if it has ended, the next look finds another
		l.use()
	case via.Node != "":
		p.r.nodes.packet(via.Node, p.key.peer, p.key.slot, o.packet[:])
	}
}
