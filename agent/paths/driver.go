package paths

import (
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// driver is all that belongs to the loop: it has the machine, and knows no lock.
type driver struct {
	cfg     *Config
	log     *slog.Logger
	counts  *counts
	wire    Wire
	machine Machine
	look    func() // polls devices soon
	named   func() []netip.Addr

	in    mesh.Input // as the machine was told, with what this room knows
	known bool       // what an earlier run has said
	slots []intent.Slot
	addrs []netip.Addr
	ends  ends
	sent  map[ping]outstanding
	inner map[uint64]innerSent
	last  map[intent.Key]Device // as the machine was told, by the peer's key

	pool    pool
	seconds seconders
	asker   asker
	teller  teller

	shown uintptr // of the choices that were told
	swept time.Time
	next  time.Time
}

func newDriver(p *Paths, now time.Time) *driver {
	return &driver{
		cfg: &p.cfg, log: p.cfg.Log, counts: &p.counts, machine: p.cfg.Machine, named: p.names.addrs,
		look: func() { wake(p.looks) }, inner: map[uint64]innerSent{}, last: map[intent.Key]Device{},
		ends: newEnds(), sent: map[ping]outstanding{}, asker: newAsker(), seconds: seconders{},
	}
}

// read takes in what the other rooms know.
func (d *driver) read(now time.Time) {
	in, ok := d.cfg.Input()
	if !ok {
		return
	}
	d.in = in
	d.remember(now)
	if slots := d.cfg.Slots(); !slices.Equal(d.slots, slots) {
		d.slots = slots
		d.asker.again(now)
		d.listen()
	}
	if addrs := d.cfg.Addrs(); !slices.Equal(d.addrs, addrs) {
		d.addrs = addrs
		d.asker.again(now)
	}
	if o, ok := d.cfg.Offer(); ok {
		d.asker.offered(o, now)
	}
	d.pair()
	d.tell(now)
}

// remember takes up, once, what an earlier run has said of the node: peers use it, and
// it is asked again within seconds.
func (d *driver) remember(now time.Time) {
	self, ok := d.in.Intent.Self()
	if d.known || !ok {
		return
	}
	d.known = true
	d.asker.nat[true], d.asker.nat[false] = self.NAT4, self.NAT6
	for _, c := range self.Candidates {
		if c.Source == intent.FromEcho || c.Source == intent.FromPeer {
			d.pool.put(c, now)
		}
	}
}

// moved says that the node's network has changed.
func (d *driver) moved(now time.Time) {
	d.asker.again(now)
	d.read(now)
	d.machine.Event(mesh.Changed{}, now)
}

// listen has the sockets take what comes to the devices' ports.
func (d *driver) listen() {
	var ports []uint16
	for _, s := range d.slots {
		ports = append(ports, s.Port)
	}
	if err := d.wire.Ports(ports); err != nil {
		d.log.Warn("probes not heard", note.Err, err)
	}
}

// pair has an end for each slot that a peer and the node both have.
func (d *driver) pair() {
	keep := map[place]bool{}
	for _, p := range d.in.Intent.Peers {
		if p.Name == d.cfg.Self {
			continue
		}
		for _, s := range p.Slots {
			i := slices.IndexFunc(d.slots, func(o intent.Slot) bool { return o.Slot == s.Slot })
			if i < 0 {
				continue
			}
			at := place{p.Name, s.Slot}
			keep[at] = true
			if err := d.ends.put(at, d.slots[i], s.Key, d.cfg.Shared); err != nil {
				d.log.Warn("peer not probed", note.Node, p.Name, note.Err, err)
			}
		}
	}
	d.ends.keep(keep)
}

// tell gives the machine its input, with what is known of the node itself.
func (d *driver) tell(now time.Time) {
	r := d.state()
	d.in.Relays = r.Relays
	peers := slices.Clone(d.in.Intent.Peers)
	for i := range peers {
		if peers[i].Name == d.cfg.Self {
			peers[i].Slots, peers[i].Candidates, peers[i].NAT4, peers[i].NAT6, peers[i].Relays = r.Slots, r.Candidates, r.NAT4, r.NAT6, r.Relays
		}
	}
	in := d.in
	in.Intent.Peers = peers
	d.machine.Set(in, now)
	d.teller.saw(r, now)
}

// state is the node's report as it is now.
func (d *driver) state() Report {
	k := known{cluster: d.in.Intent.Cluster, slots: d.slots, external: d.named(), addrs: d.addrs, found: d.pool.list}
	r := Report{Slots: d.slots, Candidates: k.candidates(), NAT4: d.asker.class(true), NAT6: d.asker.class(false)}
	if d.cfg.Relay != nil {
		r.Relays = d.cfg.Relay.Servers()
	}
	return r
}

// arrived hands on a packet that came.
func (d *driver) arrived(a arrival, now time.Time) {
	switch a.kind {
	case cameOuter:
		d.outer(a.outer, now)
	case cameRelayed:
		d.overRelay(a.relayed, now)
	case cameInner:
		d.answered(a.inner, now)
	}
}

// turn does what has become due, and finds out when something will be again.
func (d *driver) turn(now time.Time) {
	if d.wire == nil || len(d.in.Intent.Peers) == 0 && d.in.Intent.Name == "" {
		d.next = now.Add(pollEvery)
		return
	}
	dropped, expiry := d.pool.expire(now)
	if d.ask(now) || dropped {
		d.tell(now)
	}
	d.sweep(now)
	acts, next := d.machine.Step(now)
	for _, a := range acts {
		d.act(a, now)
	}
	d.next = earliest(earliest(earliest(next, expiry), d.asker.next()), d.teller.due())
	d.next = earliest(d.next, now.Add(pollEvery)) // what is sent expires
}

// sweep forgets probes that nobody will answer.
func (d *driver) sweep(now time.Time) {
	if now.Sub(d.swept) < waits/4 {
		return
	}
	d.swept = now
	maps.DeleteFunc(d.sent, func(_ ping, o outstanding) bool { return now.Sub(o.at) > waits })
	maps.DeleteFunc(d.inner, func(_ uint64, o innerSent) bool { return now.Sub(o.at) > waits })
}

// act does what the machine asks for.
func (d *driver) act(a mesh.Action, now time.Time) {
	switch a := a.(type) {
	case mesh.Probe:
		d.probe(a, now)
	case mesh.ProbeInner:
		d.probeInner(a, now)
	case mesh.Look:
		d.look()
	}
}

// news are the choices and the report, where they are others than before.
func (d *driver) news(now time.Time) (map[string]mesh.Choice, *Report) {
	choices := d.machine.Choices()
	if at := reflect.ValueOf(choices).Pointer(); at != d.shown {
		d.shown = at
	} else {
		choices = nil
	}
	return choices, d.teller.tell(now)
}

// unsent tells the machine that our kernel would not send.
func (d *driver) unsent(id uint64, peer string, err error, now time.Time) {
	d.counts.add(unsent)
	d.log.Debug("probe not sent", note.Node, peer, note.Err, err)
	d.machine.Event(mesh.Unsent{ID: id, Peer: peer, Why: reason(err)}, now)
}

// status tells the machine of the peers of whom devices say something new.
func (d *driver) status(list []Device, now time.Time) {
	seen := make(map[intent.Key]bool, len(list))
	for _, v := range list {
		seen[v.Key] = true
		at, ok := d.ends.byKey[v.Key]
		if !ok || d.last[v.Key] == v {
			continue
		}
		d.last[v.Key] = v
		d.machine.Event(mesh.Device{
			Peer: at.peer, Slot: at.slot, Endpoint: v.Endpoint, Handshake: v.Handshake, Received: v.Received, Sent: v.Sent, PSK: v.PSK,
		}, now)
	}
	for k := range d.last {
		if !seen[k] {
			delete(d.last, k)
		}
	}
	d.machine.Event(mesh.Looked{}, now)
}
