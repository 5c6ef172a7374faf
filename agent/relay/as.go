package relay

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"

	wire "github.com/weft-net/weft/proto/relay"
	"golang.org/x/sys/unix"
)

// guise is from where packets seem to come.
type guise struct {
	from netip.AddrPort // the peer's address, straight
	to   netip.Addr     // ours, that it would reach
}

// As has what still comes for a peer and slot over a relay handed to the device as if
// it came straight from an address, until As is called with the zero address. WireGuard
// sends to where the last packet came from: those that were under way over a relay when
// the two ends moved off it would else take them back, in turn, for ever.
//
// It needs CAP_NET_RAW. The packets never leave the machine: they are for an address of
// it, which the kernel routes over loopback, whoever they say that they are from.
func (r *Relay) As(peer string, slot uint8, from netip.AddrPort) (err error) {
	k := key{peer, slot}
	r.mu.RLock()
	was := r.guises[k]
	r.mu.RUnlock()
	if was == nil && !from.IsValid() || was != nil && was.from == from {
		return nil
	}
	var now *guise
	if from.IsValid() {
		if now, err = r.disguise(from); err != nil {
			now, err = nil, fmt.Errorf("relay: packets of node %s as from %v: %w", peer, from, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now == nil {
		delete(r.guises, k)
	} else {
		r.guises[k] = now
	}
	if p := r.ports[k]; p != nil {
		p.as.Store(now)
	}
	return err
}

func (r *Relay) disguise(from netip.AddrPort) (*guise, error) {
	to, err := sourceFor(from)
	if err != nil {
		return nil, err
	}
	return &guise{from, to}, r.forge.open(from.Addr().Is4())
}

// sourceFor is the address by which this machine would send somewhere, and so where it
// would be answered. Connecting a socket of UDP sends nothing.
func sourceFor(there netip.AddrPort) (netip.Addr, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(there))
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// forge sends packets that say from where they come: raw sockets, opened when they are
// first needed.
type forge struct {
	mu     sync.Mutex
	v4, v6 int // file numbers; 0: not open
	buf    []byte
}

func (f *forge) open(is4 bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd, domain := &f.v4, unix.AF_INET
	if !is4 {
		fd, domain = &f.v6, unix.AF_INET6
	}
	if *fd != 0 {
		return nil
	}
	// Of IPPROTO_RAW the kernel expects that packets bring their header (raw(7)).
	n, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	*fd = n
	return nil
}

func (f *forge) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fd := range []*int{&f.v4, &f.v6} {
		if *fd != 0 {
			_ = unix.Close(*fd)
			*fd = 0
		}
	}
}

// send sends the packets of a frame to a port of this machine, and returns how many
// could not be sent.
func (f *forge) send(g *guise, device uint16, frame wire.Frame) (lost int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to := netip.AddrPortFrom(g.to, device)
	for b := frame.Payload; len(b) > 0; {
		n := min(frame.Size, len(b))
		if f.sendOne(g.from, to, b[:n]) != nil {
			lost++
		}
		b = b[n:]
	}
	return lost
}

func (f *forge) sendOne(from, to netip.AddrPort, payload []byte) error {
	f.buf = appendUDP(f.buf[:0], from, to, payload)
	if to.Addr().Is4() {
		if f.v4 == 0 {
			return net.ErrClosed
		}
		return unix.Sendto(f.v4, f.buf, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	}
	if f.v6 == 0 {
		return net.ErrClosed
	}
	return unix.Sendto(f.v6, f.buf, unix.MSG_DONTWAIT, &unix.SockaddrInet6{Addr: to.Addr().As16()})
}

// appendUDP appends a datagram with its headers of IP (RFC 791, 3.1; RFC 8200, 3) and
// UDP (RFC 768). The kernel fills in the checksum of IPv4's header.
func appendUDP(b []byte, from, to netip.AddrPort, payload []byte) []byte {
	const ttl, udp = 64, unix.IPPROTO_UDP
	n := 8 + len(payload)
	src, dst := from.Addr().AsSlice(), to.Addr().AsSlice()
	if to.Addr().Is4() {
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+n))
		b = append(b, 0, 0, 0, 0, ttl, udp, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, udp, ttl)
	}
	b = append(append(b, src...), dst...)
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(append(b, 0, 0), payload...)
	sum := checksum(checksum(checksum(uint32(udp)+uint32(n), src), dst), b[at:])
	sum = sum>>16 + sum&0xffff
	check := ^uint16(sum + sum>>16)
	if check == 0 {
		check = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(b[at+6:], check)
	return b
}

// checksum adds 16-bit words (RFC 1071); of 64 KiB the sum fits.
func checksum(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}
