package mesh

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// simNode is a node: its Machine, a kernel with WireGuard devices and routes, and what
// the agent does between the two.
type simNode struct {
	w    *world
	name string
	site *site
	addr netip.Addr
	down bool // the machine is off
	dead bool // only its agent is
	away bool // nobody knows of it yet
	mute bool // its relays are not connected yet
	self intent.Peer

	m       *Machine
	wakeSeq int
	applied map[string]Choice
	devices [intent.Slots]map[string]*wgPeer
	adopted map[string]Over
	mtus    map[string]int

	lastReply map[string]time.Time // of a ping through the main route, by peer
	lost      map[string]int
	pings     uint64
	waiting   map[uint64]string
	inners    int // probes through the data path
	outers    int
	changes   map[string]int // of the choice's rung
	sealed    map[string]bool
	busy      bool
	sees      func(Probe) // what is sent outside of WireGuard; nil: nobody
	taken     bool        // its device of slot 1 has no socket: something else has the port
	deaf      bool        // begins no handshakes in slot 0
	late      bool        // answers to its probes inside of tunnels come when nobody waits for them any more
	unread    bool        // its devices cannot be read
	replays   intent.Key  // whose timestamps peers have seen later ones of
	keys      byte
}

// wgPeer is a peer of a device.
type wgPeer struct {
	endpoint  netip.AddrPort
	session   bool
	initiated time.Time
	queue     *inner
	sent, got uint64
	told      Device
}

func (p *wgPeer) String() string {
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("%v session %v", p.endpoint, p.session)
}

// inner is a packet between fabric addresses.
type inner struct {
	from, to string
	id       uint64
	reply    bool
	probe    bool
	over     Over // of the request
	size     int
	at       time.Time
}

func (w *world) node(name, siteName, label string) *simNode {
	s := w.sites[siteName]
	i := byte(len(w.names) + 1)
	n := &simNode{
		w: w, name: name, site: s, addr: netip.AddrFrom4([4]byte{192, 168, 1, i}), applied: map[string]Choice{}, lastReply: map[string]time.Time{},
		keys: 1, lost: map[string]int{}, waiting: map[uint64]string{}, changes: map[string]int{}, sealed: map[string]bool{},
	}
	if s.kind == "public" {
		n.addr = netip.AddrFrom4([4]byte{203, 0, 113, i})
	}
	for k := range n.devices {
		n.devices[k] = map[string]*wgPeer{}
	}
	n.self = intent.Peer{
		Name: name, Lease: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, i, 0}), 24)},
		Underlay: []intent.Underlay{{Addr: netip.PrefixFrom(n.addr, 24), Device: "eth0", MTU: 1500}},
		Labels:   map[string]string{}, Slots: []intent.Slot{{Slot: 0, Key: intent.Key{i, 1}, Port: 51820}},
	}
	if label != "" {
		n.self.Labels[intent.SiteLabel] = label
	}
	w.nodes[name] = n
	w.names = append(w.names, name)
	n.report()
	n.m = New(name, w.now)
	w.after(0, n.ping)
	return n
}

// report makes the node's candidates: its own address, and what a server's echo says.
func (n *simNode) report() {
	n.self.Candidates = nil
	n.self.NAT4 = map[string]intent.NAT{"public": intent.NATNone, "easy": intent.NATEasy, "clash": intent.NATEasy, "open": intent.NATEasy, "hard": intent.NATHard, "blocked": intent.NATBlocked}[n.site.kind]
	n.self.Relays = nil
	for _, s := range n.self.Slots {
		from := netip.AddrPortFrom(n.addr, s.Port)
		n.self.Candidates = append(n.self.Candidates, intent.Candidate{Addr: from, Slot: s.Slot, Source: intent.FromInterface})
		if outer, ok := n.site.out(from, netip.MustParseAddrPort("192.0.2.1:7443")); ok && outer != from {
			n.self.Candidates = append(n.self.Candidates, intent.Candidate{Addr: outer, Slot: s.Slot, Source: intent.FromEcho})
		}
	}
	n.self.Relays = n.relays()
}

func (n *simNode) relays() (out []string) {
	for _, s := range []string{"s1", "s2"} {
		if n.w.relays[s] && !n.mute {
			out = append(out, s)
		}
	}
	return out
}

// input is what the node knows.
func (n *simNode) input() Input {
	in := Input{Intent: intent.Node{Name: n.name, Cluster: n.w.cluster}, Relays: n.relays(), Adopted: n.adopted, MTUs: n.mtus}
	for _, name := range sorted(n.w.names) {
		if o := n.w.nodes[name]; !o.away {
			in.Intent.Peers = append(in.Intent.Peers, o.self)
		}
	}
	return in
}

func sorted(list []string) []string {
	m := map[string]bool{}
	for _, s := range list {
		m[s] = true
	}
	out := make([]string, 0, len(m))
	for s := range maps.Keys(m) {
		out = append(out, s)
	}
	for i := range out {
		for j := i + 1; j < len(out); j++ {
			if out[j] < out[i] {
				out[i], out[j] = out[j], out[i]
			}
		}
	}
	return out
}

func (n *simNode) set() {
	if !n.dead && !n.down && !n.away {
		n.m.Set(n.input(), n.w.now)
		n.step()
	}
}

// event gives the Machine one.
func (n *simNode) event(e Event) {
	if n.dead || n.down {
		return
	}
	n.m.Event(e, n.w.now)
	n.step()
}

// step runs the Machine, and what it wants.
func (n *simNode) step() {
	acts, next := n.m.Step(n.w.now)
	for _, a := range acts {
		switch a := a.(type) {
		case Probe:
			n.probe(a)
		case ProbeInner:
			n.inners++
			n.sendInner(inner{from: n.name, to: a.Peer, id: a.ID, probe: true, over: a.Over, size: max(a.Size, 64), at: n.w.now}, a.Over)
		case Look:
			n.w.after(time.Millisecond, n.look)
		}
	}
	n.wakeSeq++
	seq := n.wakeSeq
	if !next.IsZero() {
		n.w.after(next.Sub(n.w.now), func() {
			if seq == n.wakeSeq && !n.dead && !n.down {
				n.step()
			}
		})
	}
	if c := n.m.Choices(); len(c) != len(n.applied) || !maps.Equal(c, n.applied) {
		n.w.after(15*time.Millisecond, n.apply)
	}
}

// apply makes the kernel what was chosen.
func (n *simNode) apply() {
	if n.dead || n.down {
		return
	}
	for peer, c := range n.m.Choices() {
		if c.Rung != n.applied[peer].Rung {
			n.changes[peer]++
		}
		n.sealed[peer] = n.sealed[peer] || c.Rung.Sealed()
		for s, p := range c.Peers {
			if !p.There {
				delete(n.devices[s], peer)
				continue
			}
			d := n.devices[s][peer]
			if d == nil {
				d = &wgPeer{}
				n.devices[s][peer] = d
			}
			switch {
			case p.Relayed:
				d.endpoint = n.local(uint8(s))
			case p.Endpoint.IsValid():
				d.endpoint = p.Endpoint
			}
		}
	}
	n.applied = maps.Clone(n.m.Choices())
}

// local is the relay's address on this machine.
func (n *simNode) local(slot uint8) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 40000+uint16(slot))
}

func (n *simNode) look() {
	if n.unread {
		return
	}
	for s := range n.devices {
		for peer, d := range n.devices[s] {
			e := Device{Peer: peer, Slot: uint8(s), Endpoint: d.endpoint, Received: d.got, Sent: d.sent}
			if d.session {
				e.Handshake = d.initiated
			}
			if e != d.told {
				d.told = e
				n.event(e)
			}
		}
	}
	n.event(Looked{})
}

// probe carries one outside of WireGuard, and its answer.
func (n *simNode) probe(a Probe) {
	n.outers++
	if n.sees != nil {
		n.sees(a)
	}
	sent := n.w.now
	arrived := func(at *simNode, slot uint8, from netip.AddrPort) {
		if at.name != a.Peer || at.dead {
			return // not the one whose key it is, or nobody reads
		}
		observed := from
		at.answer(n, a, observed, sent)
		h := Heard{Peer: n.name, Slot: slot, Nominate: a.Nominate, Call: a.Call, Opened: a.Opened, Sends: a.Sends, Via: a.Via}
		if a.Via == (Via{}) {
			h.From = from
		}
		at.event(h)
	}
	if a.Via == (Via{}) {
		n.w.datagram(n, a.Slot, a.To, a.TTL, "disco", 64, arrived)
		return
	}
	n.carry(a.Via, a.Peer, 64, func(at *simNode) { arrived(at, a.Slot, netip.AddrPort{}) })
}

func (n *simNode) answer(to *simNode, a Probe, observed netip.AddrPort, sent time.Time) {
	back := func(at *simNode, _ uint8, from netip.AddrPort) {
		if at != to {
			return
		}
		at.event(Answered{ID: a.ID, Peer: n.name, Slot: a.Slot, From: from, Via: a.Via, Observed: observed, RTT: n.w.now.Sub(sent), Sends: n.applied[to.name].Over()})
		at.observed(a.Slot, observed)
	}
	if a.Via == (Via{}) {
		n.w.datagram(n, a.Slot, observed, 0, "disco", 64, back)
		return
	}
	n.carry(a.Via, to.name, 64, func(at *simNode) { back(at, a.Slot, netip.AddrPort{}) })
}

// observed adds an address as which a peer saw the node, as agent/paths does where the
// router has given another port than to the echo.
func (n *simNode) observed(slot uint8, a netip.AddrPort) {
	list := n.self.Candidates
	c := intent.Candidate{Addr: a, Slot: slot, Source: intent.FromPeer}
	if a.Addr() != n.site.outer || n.self.NAT4 != intent.NATEasy || slices.ContainsFunc(list, func(o intent.Candidate) bool { return o.Addr == a && o.Slot == slot }) {
		return
	}
	n.self.Candidates = append(slices.Clone(list), c)
	n.w.after(300*time.Millisecond, n.w.tell)
}

// carry sends over a relay.
func (n *simNode) carry(via Via, peer string, _ int, got func(at *simNode)) {
	at := n.w.nodes[peer]
	if n.dead || n.down {
		return // its agent is the relay's end
	}
	switch {
	case via.Server != "" && (!n.w.relays[via.Server] || n.mute || at.mute):
		return
	case via.Node != "":
		g := n.w.nodes[via.Node]
		if g == nil || g.down || g.dead || g.site.kind != "public" || n.site.kind == "blocked" || at.site.kind == "blocked" {
			return
		}
	}
	n.w.after(2*n.w.latency(n.name, peer), func() {
		if !at.down && !at.dead && (via.Server == "" || n.w.relays[via.Server]) {
			got(at)
		}
	})
}

// sendInner sends a packet through some devices.
func (n *simNode) sendInner(p inner, over Over) {
	at := n.w.nodes[p.to]
	if over.Rung != WireGuard {
		what := map[Rung]string{Direct: "direct", VXLAN: "vxlan"}[over.Rung]
		same := n.site == at.site || n.site.kind == "public" && at.site.kind == "public" && over.Rung == VXLAN
		if what == "" || !same || n.w.isCut(n.name, at.name, what) || n.w.rand.Float64() < n.w.loss {
			return
		}
		if h := n.w.hole[[2]string{n.name, at.name}]; h > 0 && p.size > h {
			return
		}
		if !p.probe && n.sealed[p.to] {
			n.w.wires = append(n.w.wires, n.name+"->"+p.to)
		}
		n.w.after(200*time.Microsecond, func() { at.gotInner(p) })
		return
	}
	d := n.devices[over.Slot][p.to]
	if d == nil || !d.endpoint.IsValid() {
		return
	}
	d.sent += uint64(p.size)
	if d.session {
		n.crypt(over.Slot, p.to, p.size+60, func(at *simNode, slot uint8, from netip.AddrPort) { at.opened(n, slot, from, &p) })
		return
	}
	d.queue = &p
	if n.deaf && over.Slot == 0 {
		return
	}
	if n.w.now.Sub(d.initiated) >= 5*time.Second {
		d.initiated = n.w.now
		n.crypt(over.Slot, p.to, 148, func(at *simNode, slot uint8, from netip.AddrPort) { at.initiation(n, slot, from) })
	}
}

// initiation answers the first message of a handshake.
func (n *simNode) initiation(from *simNode, slot uint8, addr netip.AddrPort) {
	d := n.devices[slot][from.name]
	if d == nil || n.taken && slot == 1 {
		return
	}
	if s, _ := from.self.SlotOf(slot); s.Key == from.replays {
		return // its timestamp is before the last: a replay
	}
	d.endpoint = addr
	n.crypt(slot, from.name, 92, func(at *simNode, slot uint8, addr netip.AddrPort) {
		e := at.devices[slot][n.name]
		if e == nil {
			return
		}
		e.endpoint, e.session, d.session = addr, true, true
		if q := e.queue; q != nil {
			e.queue = nil
			at.crypt(slot, n.name, q.size+60, func(to *simNode, slot uint8, addr netip.AddrPort) { to.opened(at, slot, addr, q) })
		}
	})
}

// crypt sends ciphertext where the kernel's endpoint says.
func (n *simNode) crypt(slot uint8, peer string, size int, got func(at *simNode, slot uint8, from netip.AddrPort)) {
	d := n.devices[slot][peer]
	if n.taken && slot == 1 {
		return
	}
	if d.endpoint.Addr().IsLoopback() {
		n.carry(n.m.Choices()[peer].Peers[slot].Via, peer, size, func(at *simNode) {
			from := at.local(slot)
			if p := at.applied[n.name].Peers[slot]; p.Endpoint.IsValid() {
				from = p.Endpoint // as agent/relay does while an endpoint is held
			}
			got(at, slot, from)
		})
		return
	}
	n.w.datagram(n, slot, d.endpoint, 0, "wg", size, func(at *simNode, slot uint8, from netip.AddrPort) {
		if at.name == peer {
			got(at, slot, from)
		}
	})
}

// opened takes a packet out of a tunnel.
func (n *simNode) opened(from *simNode, slot uint8, addr netip.AddrPort, p *inner) {
	d := n.devices[slot][from.name]
	if d == nil || !d.session {
		return
	}
	d.endpoint = addr
	d.got += uint64(p.size)
	n.gotInner(*p)
}

// gotInner is the kernel: it answers echo requests by its main route.
func (n *simNode) gotInner(p inner) {
	if n.down {
		return
	}
	if !p.reply {
		p.reply, p.from, p.to = true, n.name, p.from
		n.sendInner(p, n.applied[p.to].Over())
		return
	}
	if p.probe {
		if !n.late {
			n.event(Inner{ID: p.id, Peer: p.from, Over: p.over, Size: p.size, RTT: n.w.now.Sub(p.at)})
		}
		return
	}
	delete(n.waiting, p.id)
	n.lastReply[p.from] = n.w.now
}

// ping sends one each 10 ms, or as the world says, to every peer by the main route, as pods do; one that is
// not answered within a second is lost.
func (n *simNode) ping() {
	n.w.after(n.w.every, n.ping)
	if n.down || n.away || !n.busy {
		return
	}
	for _, peer := range n.w.names {
		if peer == n.name || n.w.nodes[peer].away {
			continue
		}
		n.pings++
		id := n.pings
		n.waiting[id] = peer
		n.w.after(time.Second, func() {
			if _, ok := n.waiting[id]; ok {
				delete(n.waiting, id)
				n.lost[peer]++
			}
		})
		n.sendInner(inner{from: n.name, to: peer, id: id, size: 84, at: n.w.now}, n.applied[peer].Over())
	}
}
