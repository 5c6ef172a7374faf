package preshared

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	wire "github.com/weft-net/weft/proto/preshared"
)

// Net is a socket at one fabric address.
type Net interface {
	// Send sends through a device and no other.
	Send(dev string, to netip.Addr, b []byte) error
	// Receive waits for a datagram, and tells who sent it and by which device it came.
	Receive(b []byte) (n int, from netip.Addr, dev string, err error)
	Close() error
}

// maxWaiting is how many datagrams wait; beyond, the newest is lost.
const maxWaiting = 256

// datagram is one that came.
type datagram struct {
	peer string // whose fabric address it came from
	via  uint8
	data []byte
}

// receive takes datagrams until the socket is closed.
func (a *Agreement) receive(n Net) error {
	b := make([]byte, wire.MaxSize+1)
	for {
		size, from, dev, err := n.Receive(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		via := slices.Index([]string{datapath.WGLink(0), datapath.WGLink(1)}, dev)
		if via < 0 {
			continue // a pod's, or from beside the fabric
		}
		peer, ok := a.gate.pass(from, time.Now())
		if !ok {
			continue
		}
		select {
		case a.came <- datagram{peer, uint8(via), slices.Clone(b[:size])}:
		default:
		}
	}
}

// hearAll takes a datagram and all that wait behind it: a look at all pairs follows.
func (a *Agreement) hearAll(d datagram) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range maxWaiting {
		a.hear(d)
		select {
		case d = <-a.came:
		default:
			return
		}
	}
}

// hear takes a datagram of a peer.
func (a *Agreement) hear(d datagram) {
	p, ok := a.n.Peer(d.peer)
	if !ok {
		return
	}
	key, err := a.mac(&p, d.via)
	if err != nil {
		return
	}
	in, err := wire.Decode(d.data, key)
	if err != nil {
		a.cfg.Log.Debug("message refused", note.Node, p.Name, note.Err, err)
		return
	}
	a.m.Hear(p.Name, d.via, in, time.Now())
}

// mac is the key of messages in a tunnel.
func (a *Agreement) mac(p *intent.Peer, via uint8) (key [32]byte, err error) {
	theirs, ok := p.SlotOf(via)
	for _, s := range a.cfg.Slots() {
		if s.Slot != via || !ok {
			continue
		}
		static, err := a.cfg.Shared(s.Key, theirs.Key)
		if err != nil {
			return key, err
		}
		if a.n.Name < p.Name {
			return wire.MACKey(static, s.Key, theirs.Key)
		}
		return wire.MACKey(static, theirs.Key, s.Key)
	}
	return key, errNoTunnel
}

var errNoTunnel = errors.New("preshared: not both ends have a device of the slot")

// send sends a message in its tunnel.
func (a *Agreement) send(nets map[bool]Net, s Send) error {
	self, _ := a.n.Self()
	p, _ := a.n.Peer(s.Peer)
	key, err := a.mac(&p, s.Via)
	if err != nil {
		return err
	}
	for _, to := range p.Fabric() {
		_, both := self.FabricOf(to.Is4())
		if n := nets[to.Is4()]; both && n != nil {
			return n.Send(datapath.WGLink(s.Via), to, s.Message.Encode(key))
		}
	}
	return errNoFamily
}

var errNoFamily = errors.New("preshared: no family of fabric addresses that both have")
