package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	wire "github.com/weft-net/weft/proto/relay"
	"golang.org/x/sys/unix"
)

// Bounds of relaying over nodes.
const (
	nodeRate  = 125_000_000 // bytes a second, of one node to one other, that this one carries
	bindAgain = 2 * time.Second
)

// nodes are the relays that other nodes are, and this one as such.
type nodes struct {
	r      *Relay
	roster atomic.Pointer[roster]
	conn   atomic.Pointer[net.UDPConn] // on the node's fabric address; nil: none now
	wake   chan struct{}               // room for one: the roster is another
	spare  sync.Pool                   // *[]byte, for envelopes
}

func (n *nodes) init(r *Relay) {
	n.r, n.wake = r, make(chan struct{}, 1)
	n.spare.New = func() any { b := make([]byte, 0, wire.Overhead+wire.MaxFrame); return &b }
	n.roster.Store(&roster{})
}

func (n *nodes) kick() { signal(n.wake) }

// meet takes notice of an intent.
func (n *nodes) meet(in intent.Node) { n.roster.Store(newRoster(in, n.roster.Load(), n.r.clock())) }

// has tells whether a node relays for this one now.
func (n *nodes) has(node string) bool {
	m := n.roster.Load().mates[node]
	return m != nil && !m.relays.over(n.r.clock()) && n.conn.Load() != nil && n.r.cfg.Straight(node)
}

// run listens on the node's fabric address while any node relays.
func (n *nodes) run(ctx context.Context) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	defer n.unbind()
	var bound netip.Addr
	for ctx.Err() == nil {
		ro := n.roster.Load()
		want := ro.self
		var again <-chan time.Time
		switch now := n.r.clock(); {
		case ro.any.over(now):
			want = netip.Addr{}
		case ro.any != always:
			again = time.After(time.Duration(ro.any) - now)
		}
		if want != bound {
			n.unbind()
			bound = netip.Addr{}
			conn, err := bind(ctx, want)
			switch {
			case err != nil: // the address comes with the first turn of the loop
				n.r.cfg.Log.Debug("relay for nodes not bound", note.Addr, want, note.Err, err)
				again = time.After(bindAgain)
			case conn != nil:
				bound = want
				n.conn.Store(conn)
				reading.Go(func() { n.read(conn) })
			}
		}
		select {
		case <-ctx.Done():
		case <-n.wake:
		case <-again:
		}
	}
	return nil
}

func (n *nodes) unbind() {
	if c := n.conn.Swap(nil); c != nil {
		_ = c.Close()
	}
}

// bind opens the socket; the zero address needs none. Envelopes are not cut into
// fragments: how long a packet may be is found out by who probes, and the kernel's
// guess of it is not asked (IP_PMTUDISC_PROBE, ip(7)).
func bind(ctx context.Context, at netip.Addr) (*net.UDPConn, error) {
	if !at.IsValid() {
		return nil, nil
	}
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, sockBuffer)
			if at.Is4() {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
			} else {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
			}
		})
	}}
	conn, err := c.ListenPacket(ctx, "udp", netip.AddrPortFrom(at, wire.Port).String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// read takes envelopes until the socket is closed.
func (n *nodes) read(conn *net.UDPConn) {
	b := make([]byte, 64<<10)
	for {
		size, from, err := conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of something that was sent
		}
		if err := n.take(b[:size], from); err != nil {
			n.r.stats.strays.Add(1)
		}
	}
}

// Refusals of what other nodes send.
var (
	errStranger = errors.New("relay: who sent it is no node of the fabric")
	errNoKey    = errors.New("relay: there is no key for the node that sent it")
	errNoRelay  = errors.New("relay: the node that carries it does not relay, or this one does not")
	errNobody   = errors.New("relay: who it is for is no node of the fabric, or reached over another")
	errFlood    = errors.New("relay: the pair sends more than a node carries for it")
)

// take takes one envelope.
func (n *nodes) take(b []byte, from netip.AddrPort) error {
	ro := n.roster.Load()
	m := ro.at[from.Addr().Unmap()]
	if m == nil || from.Port() != wire.Port {
		return errStranger
	}
	way, slot, err := wire.Peek(b)
	if err != nil {
		return err
	}
	k := m.key(n.r, slot, false)
	if k == nil {
		return errNoKey
	}
	frame, err := k.Open(b)
	if err != nil {
		m.doubt(slot)
		return err
	}
	f, err := wire.Parse(frame)
	switch {
	case err != nil:
		return err
	case way == wire.ToRelay:
		return n.forward(ro, m, f)
	case m.relays.over(n.r.clock()):
		return errNoRelay
	}
	n.r.arrive(f, &m.via, nil)
	return nil
}

// forward carries a frame for another node.
func (n *nodes) forward(ro *roster, from *mate, f wire.Frame) error {
	if ro.carries.over(n.r.clock()) || f.Kind != wire.Packets && f.Kind != wire.Probe {
		return errNoRelay
	}
	to := ro.mates[string(f.Name)]
	if to == nil || to == from || !n.r.cfg.Straight(to.name) {
		return errNobody
	}
	if !from.lets(to.name, len(f.Payload), n.r.clock()) {
		n.r.stats.floods.Add(1)
		return errFlood
	}
	n.r.stats.carried.Add(uint64(len(f.Payload)))
	return n.send(to, wire.FromRelay, f.Kind, f.Slot, f.Size, from.name, f.Payload)
}

// packet sends one packet of a device over a node.
func (n *nodes) packet(over, peer string, slot uint8, b []byte) {
	m := n.roster.Load().mates[over]
	if m == nil || n.send(m, wire.ToRelay, wire.Packets, slot, len(b), peer, b) != nil {
		n.r.stats.dropped.Add(1)
		return
	}
	n.r.stats.framesOut.Add(1)
	n.r.stats.bytesOut.Add(uint64(len(b)))
}

// probe sends a probe over a node.
func (n *nodes) probe(over, peer string, slot uint8, b []byte) error {
	m := n.roster.Load().mates[over]
	if m == nil || m.relays.over(n.r.clock()) {
		return fmt.Errorf("relay: node %q relays for nobody (label %s=true)", over, intent.RelayLabel)
	}
	return n.send(m, wire.ToRelay, wire.Probe, slot, 0, peer, b)
}

// send seals a frame and sends it.
func (n *nodes) send(to *mate, way wire.Way, kind wire.Kind, slot uint8, size int, name string, payload []byte) error {
	conn := n.conn.Load()
	k, of := to.sealer(n.r)
	if conn == nil || k == nil {
		return errNoKey
	}
	buf := n.spare.Get().(*[]byte)
	b := wire.AppendHead(wire.Begin((*buf)[:0], way, of), kind, slot, size, name)
	b = k.Seal(append(b, payload...), 0)
	_, err := conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.addr, wire.Port))
	*buf = b[:0]
	n.spare.Put(buf)
	return err
}
