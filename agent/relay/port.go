package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/note"
	wire "github.com/weft-net/weft/proto/relay"
)

// loopback is where WireGuard finds relays: that of IPv4, which is there also where
// IPv6 is switched off.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// maxPorts bounds ports, far beyond the peers of any node.
const maxPorts = 12_000

// port is what WireGuard's device of a slot takes for a peer.
type port struct {
	r     *Relay
	key   key
	local netip.AddrPort
	sock  *sock
	via   atomic.Pointer[mesh.Via] // as Use says; nil: not said
	last  atomic.Pointer[mesh.Via] // over which the peer was last heard
	as    atomic.Pointer[guise]    // see As; nil: what comes comes from here
	head  []byte                   // scratch of the reader

	opening atomic.Pointer[opening] // that nothing has come after; nil: none

	mu     sync.Mutex    // held by who connects
	device atomic.Uint32 // port of the device that it is connected to; 0: none
}

// port returns that of a peer, and opens it if need be.
func (r *Relay) port(k key) (*port, error) {
	r.mu.RLock()
	p := r.ports[k]
	r.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	p, err := r.openOnce(k)
	if err == nil {
		p.point(r.cfg.Device(k.slot))
	}
	return p, err
}

func (r *Relay) openOnce(k key) (*port, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.ports[k]; p != nil {
		return p, nil
	}
	return r.open(k)
}

// heard returns the port of a peer that a relay names, and opens it if the peer is one
// of the fabric: it may have chosen the relay before this end did.
func (r *Relay) heard(name []byte, slot uint8) *port {
	r.mu.RLock()
	p := r.ports[key{string(name), slot}]
	r.mu.RUnlock()
	if p != nil {
		return p
	}
	r.mu.RLock()
	_, member := r.members[string(name)]
	r.mu.RUnlock()
	if !member || string(name) == r.cfg.Node {
		r.stats.strays.Add(1)
		return nil
	}
	p, err := r.port(key{string(name), slot})
	if err != nil {
		r.cfg.Log.Debug("relay port not opened", note.Err, err)
		return nil
	}
	return p
}

// open makes a port, the one that there was if it is free. r.mu is held.
func (r *Relay) open(k key) (*port, error) {
	if k.slot > 1 || k.peer == "" || len(k.peer) > wire.MaxName {
		return nil, fmt.Errorf("relay: no node has the name %.60q and slot %d", k.peer, k.slot)
	}
	if len(r.ports) >= maxPorts {
		return nil, fmt.Errorf("relay: %d ports are open, of at most %d", len(r.ports), maxPorts)
	}
	was := r.memory[k]
	s, err := openSock(was)
	if err != nil && was != 0 {
		r.cfg.Log.Warn("relay port was taken by somebody else", note.Node, k.peer, note.Addr, netip.AddrPortFrom(loopback, was), note.Err, err)
		s, err = openSock(0)
	}
	if err != nil {
		return nil, fmt.Errorf("relay: port for node %s, slot %d: %w", k.peer, k.slot, err)
	}
	p := &port{r: r, key: k, sock: s, local: s.local}
	p.as.Store(r.guises[k])
	r.ports[k] = p
	if was != p.local.Port() {
		r.memory[k], r.dirty = p.local.Port(), true
		signal(r.changed)
	}
	if r.life != nil && r.life.Err() == nil {
		r.serving.Go(p.read)
	}
	return p, nil
}

// retarget points all ports at the devices as they are now.
func (r *Relay) retarget() {
	device := [2]uint16{r.cfg.Device(0), r.cfg.Device(1)}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for k, p := range r.ports {
		p.point(device[k.slot])
	}
}

// point has the port talk to a device's port, and to nobody else.
func (p *port) point(device uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if uint32(device) == p.device.Load() || device == 0 {
		return // what is there may come back at the same port
	}
	if err := p.sock.connect(netip.AddrPortFrom(loopback, device)); err != nil {
		p.r.cfg.Log.Debug("relay port not connected", note.Node, p.key.peer, note.Err, err)
		return
	}
	p.device.Store(uint32(device))
}

func (p *port) close() { _ = p.sock.conn.Close() }

// read takes what the device sends to the peer, until the port is closed.
func (p *port) read() {
	for {
		b, err := p.sock.receive()
		if err != nil {
			return
		}
		p.note(b)
		p.send(b)
		b.free()
	}
}

// send hands on what was read at once.
func (p *port) send(b *burst) {
	via, l := p.way()
	switch {
	case l != nil:
		b.runs(wire.MaxPayload, wire.MaxPackets, func(size int, payload []byte) {
			p.head = wire.AppendHead(p.head[:0], wire.Packets, p.key.slot, size, p.key.peer)
			l.queue(p.head, payload)
		})
		l.flush()
	case via.Node != "":
		b.each(func(packet []byte) { p.r.nodes.packet(via.Node, p.key.peer, p.key.slot, packet) })
	default:
		p.r.stats.nowhere.Add(uint64(b.count()))
	}
}

// way is over what packets go now: what was said, or, if that is not there, what the
// peer was last heard by, or any server. A link is nil where it is a node.
func (p *port) way() (mesh.Via, *link) {
	said, last := p.via.Load(), p.last.Load()
	for _, via := range [...]*mesh.Via{said, last} {
		if via == nil {
			continue
		}
		if via.Node != "" && p.r.nodes.has(via.Node) {
			return *via, nil
		}
		if l := p.r.link(via.Server); l != nil && !l.mute.Load() && !l.lacks(p.key.peer) {
			return *via, l
		}
	}
	if l := p.r.any(p.key.peer, said, last); l != nil {
		return *l.via, l
	}
	return mesh.Via{}, nil
}

// link is the connection to a server; nil: there is none.
func (r *Relay) link(server string) *link {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.links[server]
}

// any is a server that has the peer, else one that may only be slow: first those that
// were named.
func (r *Relay) any(peer string, named ...*mesh.Via) *link {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, l := range r.order {
		if !l.lacks(peer) {
			return l
		}
	}
	for _, via := range named {
		if via != nil && r.links[via.Server] != nil {
			return r.links[via.Server]
		}
	}
	for _, l := range r.links {
		return l
	}
	return nil
}

// deliver gives the device packets of the peer.
func (p *port) deliver(f wire.Frame, via *mesh.Via) {
	if was := p.last.Load(); was == nil || *was != *via {
		p.last.Store(via)
	}
	if o := p.opening.Load(); o != nil {
		if o.beats(f.Payload, p.r.clock()) {
			o.urged.Store(true)
			return
		}
		if !isData(f.Payload) { // which may be of a session that only the peer still has
			p.opening.Store(nil)
		}
	}
	lost := 0
	if as := p.as.Load(); as != nil {
		lost = p.r.forge.send(as, uint16(p.device.Load()), f)
	} else {
		lost = p.sock.send(f.Payload, f.Size)
	}
	if lost > 0 {
		p.r.stats.dropped.Add(uint64(lost))
	}
}

// listenLocal binds a port of loopback; 0 is any.
func listenLocal(at uint16) (*net.UDPConn, error) {
	var c net.ListenConfig
	conn, err := c.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(loopback, at).String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}
