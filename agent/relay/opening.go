package relay

import (
	"bytes"
	"context"
	"time"

	wire "github.com/weft-net/weft/proto/relay"
)

// WireGuard asks for a session with one packet, and again only after 5 s (REKEY_TIMEOUT,
// wireguard.com/papers/wireguard.pdf, section 6.1). Over a relay that the peer is just
// about to join, the first one is lost, and with it the pair for as long. So what asks is
// sent again meanwhile: a peer that has had it throws it away, by its timestamp.
const (
	openingSize   = 148 // bytes (section 5.4.2)
	openingType   = 1
	openingLasts  = 5 * time.Second
	openingFirst  = 100 * time.Millisecond // pause before it is sent again, doubled each time
	openingsEvery = 50 * time.Millisecond  // between looks

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
	next   time.Duration // of reopen alone
	wait   time.Duration // the same
}

// note remembers a packet that asks for a session.
func (p *port) note(b *burst) {
	for _, c := range b.came {
		if c.size != openingSize || b.buf[c.from] != openingType {
			continue
		}
		if was := p.opening.Load(); was != nil && bytes.Equal(was.packet[:], b.buf[c.from:c.to]) {
			continue // the device's process asks again itself
		}
		now := p.r.clock()
		o := &opening{at: now, next: now + openingFirst, wait: openingFirst}
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
// again until something comes; if nothing does, the peer's is heard after all.
func (o *opening) beats(packet []byte, now time.Duration) bool {
	return o != nil && now-o.at < crossing && len(packet) == openingSize && packet[0] == openingType &&
		bytes.Compare(o.packet[ephemeralFrom:ephemeralTo], packet[ephemeralFrom:ephemeralTo]) < 0
}

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
	now := r.clock()
	for _, p := range all {
		o := p.opening.Load()
		switch {
		case o == nil:
		case now-o.at >= openingLasts:
			p.opening.CompareAndSwap(o, nil) // the device asks again
		default:
			left = true
			if now >= o.next {
				o.wait *= 2
				o.next = now + o.wait
				p.again(o)
			}
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
