package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// hops is the hop limit of outer datagrams: not the kernel's default of 64, which
// WireGuard's have (RFC 1340's recommendation; see doc.go).
const hops = 128

// Datagram is an outer datagram.
type Datagram struct {
	Local  netip.Addr // own address; zero when it is sent: as the kernel routes
	Port   uint16     // own, UDP
	Remote netip.AddrPort
	TTL    int // when it is sent, hops; 0: enough for all ways
	Data   []byte
	At     time.Time // when it came
}

// outer is the socket of one family.
type outer struct {
	is4    bool
	conn   *net.IPConn
	routes *routes // of IPv4
}

func openOuter(ctx context.Context, is4 bool) (*outer, error) {
	conn, err := listen(ctx, is4, "17", func(fd int) error {
		if err := attach(fd, nothing()); err != nil || is4 {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_CHECKSUM, 6); err != nil { // where it is in a UDP header
			return err
		}
		return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	if err != nil {
		return nil, err
	}
	o := &outer{is4: is4, conn: conn}
	if is4 {
		if o.routes, err = openRoutes(); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return o, nil
}

func (o *outer) close() {
	_ = o.conn.Close()
	if o.routes != nil {
		o.routes.close()
	}
}

// Send sends a datagram from an own UDP port, whoever holds that. The device of the
// port knows nothing of it.
func (s *Sockets) Send(d Datagram) error {
	for _, o := range s.outer {
		if o.is4 == d.Remote.Addr().Is4() {
			return o.send(d)
		}
	}
	return fmt.Errorf("probe: %v: this kernel has no such family", d.Remote)
}

func (o *outer) send(d Datagram) (err error) {
	ttl := d.TTL
	if ttl == 0 {
		ttl = hops
	}
	if !d.Local.IsValid() && o.is4 { // for the checksum; that of IPv6 is the kernel's to make
		if d.Local, err = o.routes.source(d.Remote); err != nil {
			return err
		}
	}
	b := make([]byte, udpHeader, udpHeader+len(d.Data))
	binary.BigEndian.PutUint16(b[0:], d.Port)
	binary.BigEndian.PutUint16(b[2:], d.Remote.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(udpHeader+len(d.Data)))
	b = append(b, d.Data...)
	if !o.is4 {
		oob := number(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, int32(ttl))
		if d.Local.IsValid() {
			oob = append(oob, unix.PktInfo6(&unix.Inet6Pktinfo{Addr: d.Local.As16()})...)
		}
		return o.sent(d, send(o.conn, b, oob, &unix.SockaddrInet6{Addr: d.Remote.Addr().As16()}))
	}
	binary.BigEndian.PutUint16(b[6:], udpChecksum(d.Local, d.Remote.Addr(), b))
	oob := append(number(unix.SOL_IP, unix.IP_TTL, int32(ttl)), unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: d.Local.As4()})...)
	return o.sent(d, send(o.conn, b, oob, &unix.SockaddrInet4{Addr: d.Remote.Addr().As4()}))
}

func (o *outer) sent(d Datagram, err error) error {
	if err != nil {
		return fmt.Errorf("probe: send from UDP port %d to %v: %w", d.Port, d.Remote, err)
	}
	return nil
}

// receive reads until the socket is closed.
func (o *outer) receive(ctx context.Context, heard func(Datagram)) error {
	buf, oob := make([]byte, 2048), make([]byte, 128)
	for {
		n, m, _, from, err := o.conn.ReadMsgIP(buf, oob)
		at := time.Now()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("probe: receive: %w", err)
		}
		src, ok := netip.AddrFromSlice(from.IP)
		if !ok {
			continue
		}
		var d Datagram
		if src = src.Unmap(); o.is4 {
			d, ok = parse4(buf[:n])
		} else {
			d, ok = parse6(src, destination(oob[:m]), buf[:n])
		}
		if !ok || !routable(src) {
			continue
		}
		d.At, d.Data = at, append([]byte(nil), d.Data...)
		heard(d)
	}
}

// routable tells whether an answer to an address means what it seems to: those of one
// link mean another host on each.
func routable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// parse4 reads a packet from its IP header on (RFC 791, section 3.1).
func parse4(b []byte) (Datagram, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return Datagram{}, false
	}
	header := int(b[0]&15) * 4
	if header < 20 || len(b) < header {
		return Datagram{}, false
	}
	return parseUDP(netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), b[header:])
}

// parse6 reads a packet from its UDP header on.
func parse6(from, to netip.Addr, b []byte) (Datagram, bool) {
	return parseUDP(from, to, b)
}

func parseUDP(from, to netip.Addr, b []byte) (Datagram, bool) {
	if len(b) < udpHeader {
		return Datagram{}, false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < udpHeader || n > len(b) || binary.BigEndian.Uint16(b) == 0 {
		return Datagram{}, false
	}
	return Datagram{
		Local: to, Port: binary.BigEndian.Uint16(b[2:]), Data: b[udpHeader:n],
		Remote: netip.AddrPortFrom(from, binary.BigEndian.Uint16(b)),
	}, true
}

// destination reads the own address from the control messages of IPv6 (RFC 3542,
// section 6.2), or the zero one.
func destination(oob []byte) netip.Addr {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range list {
		if m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16 {
			return netip.AddrFrom16([16]byte(m.Data))
		}
	}
	return netip.Addr{}
}

// udpChecksum is that of RFC 768, over a datagram whose own checksum is zero.
func udpChecksum(from, to netip.Addr, b []byte) uint16 {
	f, t := from.As4(), to.As4()
	pseudo := append(append(f[:], t[:]...), 0, unix.IPPROTO_UDP, b[4], b[5])
	if sum := checksum(append(pseudo, b...)); sum != 0 {
		return sum
	}
	return 0xffff // 0 says that there is none
}
