package paths

import (
	"errors"
	"net/netip"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/disco"
	"github.com/weft-net/weft/proto/echo"
	"github.com/weft-net/weft/proto/intent"
)

// Bounds of probes that wait for an answer.
const (
	waits  = 10 * time.Second
	maxOut = 16_384
)

// errNoEnd says that there is nothing to seal a probe with.
var errNoEnd = errors.New("no key of both ends in the slot")

// errTooMany says that a probe was not sent because its answer could not be awaited.
var errTooMany = errors.New("too many probes wait for an answer")

// errNoRelay says that a probe was to go where nothing goes.
var errNoRelay = errors.New("there is no relay")

// outstanding is a ping that waits for its pong.
type outstanding struct {
	probe mesh.Probe
	at    time.Time
}

// ping names one.
type ping struct {
	place
	number uint64
}

// probe sends a probe of the machine's.
func (d *driver) probe(p mesh.Probe, now time.Time) {
	e, ok := d.ends.at[place{p.Peer, p.Slot}]
	if !ok {
		d.unsent(p.ID, p.Peer, errNoEnd, now)
		return
	}
	if len(d.sent) >= maxOut { // its answer would count as one that nobody asked for
		d.unsent(p.ID, p.Peer, errTooMany, now)
		return
	}
	b, number := e.line.Ping(noteOf(p))
	if err := d.transmit(e, p, b); err != nil {
		d.unsent(p.ID, p.Peer, err, now)
		return
	}
	d.sent[ping{e.place, number}] = outstanding{p, now}
}

// transmit sends a sealed packet where a probe goes.
func (d *driver) transmit(e *end, p mesh.Probe, b []byte) error {
	if p.Via != (mesh.Via{}) {
		return d.byRelay(p.Via, e, b)
	}
	return d.wire.Send(probe.Datagram{Port: e.port, Remote: p.To, TTL: p.TTL, Data: b})
}

func (d *driver) byRelay(via mesh.Via, e *end, b []byte) error {
	if d.cfg.Relay == nil {
		return errNoRelay
	}
	return d.cfg.Relay.SendProbe(via, e.peer, e.slot, b)
}

// outer takes a datagram that came to the port of a device.
func (d *driver) outer(g probe.Datagram, now time.Time) {
	id, err := disco.IDOf(g.Data)
	if err != nil {
		r, err := echo.ParseReply(g.Data)
		if err != nil {
			d.counts.add(notOurs)
			return
		}
		d.heardEcho(r, g, now)
		return
	}
	e, ok := d.ends.byID[id]
	if !ok {
		d.counts.add(forged)
		return
	}
	d.opened(e, g.Data, way{from: g.Remote, local: g.Local, at: g.At}, now)
}

// overRelay takes a packet that a relay brought. Whom the relay names is only checked:
// who it is, the key says.
func (d *driver) overRelay(r relayed, now time.Time) {
	id, err := disco.IDOf(r.data)
	if err != nil {
		d.counts.add(notOurs)
		return
	}
	e, ok := d.ends.byID[id]
	if !ok || e.place != (place{r.peer, r.slot}) {
		d.counts.add(forged)
		return
	}
	d.opened(e, r.data, way{via: r.via, at: r.at}, now)
}

// way is how a packet came.
type way struct {
	from  netip.AddrPort // zero: over a relay
	local netip.Addr
	via   mesh.Via
	at    time.Time
}

// opened reads a packet of a peer.
func (d *driver) opened(e *end, b []byte, w way, now time.Time) {
	h, err := e.line.Open(b)
	switch {
	case errors.Is(err, disco.ErrReplay):
		d.counts.add(replayed)
	case err != nil:
		d.counts.add(forged)
	case h.Kind == disco.Pong:
		d.ponged(e, h, w, now)
	default:
		d.pinged(e, h, w, now)
	}
}

// pinged answers a ping by the way it came. Only one that counts is told.
func (d *driver) pinged(e *end, h disco.Heard, w way, now time.Time) {
	if !e.pongs.take(now) {
		d.counts.add(tooMany)
		return
	}
	b := e.line.Pong(h, w.from, disco.Note{Sends: sendsOf(d.choice(e.peer).Over())})
	var err error
	if w.from.IsValid() {
		err = d.wire.Send(probe.Datagram{Local: w.local, Port: e.port, Remote: w.from, Data: b})
	} else {
		err = d.byRelay(w.via, e, b)
	}
	if err != nil {
		d.counts.add(unsent)
	}
	if !h.Fresh {
		d.counts.add(unproven)
		return
	}
	d.machine.Event(mesh.Heard{
		Peer: e.peer, Slot: e.slot, From: w.from, Via: w.via, Nominate: h.Note.Nominate, Call: h.Note.Call, Opened: h.Note.Opened, Sends: overOf(h.Note.Sends),
	}, now)
}

// ponged takes an answer. A probe that did not count there, because it had not shown
// the peer's token, is sent once more, now that the token is known.
func (d *driver) ponged(e *end, h disco.Heard, w way, now time.Time) {
	k := ping{e.place, h.Number}
	o, ok := d.sent[k]
	if !ok {
		d.counts.add(unasked)
		return
	}
	delete(d.sent, k)
	d.machine.Event(mesh.Answered{
		ID: o.probe.ID, Peer: e.peer, Slot: e.slot, From: w.from, Via: w.via, Observed: h.Observed, RTT: w.at.Sub(o.at), Sends: overOf(h.Note.Sends),
	}, now)
	if !h.Fresh {
		b, _ := e.line.Ping(noteOf(o.probe))
		if err := d.transmit(e, o.probe, b); err != nil {
			d.counts.add(unsent)
		}
	}
	d.observed(e, h.Observed, now)
}

// observed notes as which address a peer saw us. It becomes a candidate once two peers
// say the same: where each sees another it is of no use to a third. One is enough where
// a router that gives one source one port has changed that.
func (d *driver) observed(e *end, a netip.AddrPort, now time.Time) {
	if !a.IsValid() || !usable(a.Addr()) {
		return
	}
	c := intent.Candidate{Addr: a, Slot: e.slot, Source: intent.FromPeer}
	if (d.seconds.second(c, e.peer, now) || d.asker.nat[a.Addr().Is4()] == intent.NATEasy && d.pool.moved(c)) && d.pool.put(c, now) {
		d.tell(now)
	}
}

// choice is how a peer is sent to now.
func (d *driver) choice(peer string) mesh.Choice { return d.machine.Choices()[peer] }

// noteOf is what a probe says beside.
func noteOf(p mesh.Probe) disco.Note {
	return disco.Note{Nominate: p.Nominate, Call: p.Call, Opened: p.Opened, Sends: sendsOf(p.Sends)}
}

// sendsOf is the octet of a packet that says by which devices its sender sends: two
// bits of the rung, one of the slot, one for the spare devices.
func sendsOf(o mesh.Over) byte {
	b := byte(o.Rung)&3 | o.Slot&1<<2
	if o.Spare {
		b |= 1 << 3
	}
	return b
}

func overOf(b byte) mesh.Over {
	return mesh.Over{Rung: mesh.Rung(b & 3), Slot: b >> 2 & 1, Spare: b>>3&1 != 0}
}

// isProbe tells whether bytes begin as a probe does.
func isProbe(b []byte) bool {
	_, err := disco.IDOf(b)
	return err == nil
}
