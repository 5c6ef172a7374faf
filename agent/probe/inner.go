package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Request is an inner probe.
type Request struct {
	ID       uint64
	Dev      string
	From, To netip.Addr // fabric addresses
	Size     int        // bytes of the packet with its IP header; 0, or too few: as small as can be
}

// Reply answers a Request.
type Reply struct {
	ID   uint64
	From netip.Addr
	Size int // bytes of the packet
	At   time.Time
}

// Lengths in bytes: of an ICMP header, and of what the data begins with, a tag and
// the id.
const (
	icmpHeader = 8
	innerData  = 8 + 8
)

// inner is the socket of one family that takes replies, by whatever device they come.
type inner struct {
	is4  bool
	conn *net.IPConn
}

func openInner(ctx context.Context, is4 bool, ident uint16) (*inner, error) {
	conn, err := listen(ctx, is4, icmp(is4), func(fd int) error { return attach(fd, innerFilter(is4, ident)) })
	if err != nil {
		return nil, err
	}
	return &inner{is4, conn}, nil
}

// icmp is the protocol's number.
func icmp(is4 bool) string {
	if is4 {
		return "1"
	}
	return "58"
}

// device is one of a family.
type device struct {
	name string
	is4  bool
}

// bound is a socket that sends through one device.
type bound struct{ conn *net.IPConn }

// Inner sends an echo request through a device. It is not fragmented: one that is
// larger than the device takes is an error. A device that is made anew is found again.
func (s *Sockets) Inner(r Request) error {
	d := device{r.Dev, r.To.Is4()}
	m := s.request(r)
	for again := false; ; again = true {
		err := s.through(d, r, m)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("probe: echo request of %d bytes from %v to %v through %s: %w", r.Size, r.From, r.To, r.Dev, err)
		if again || errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EAGAIN) {
			return err
		}
		s.unbind(d)
	}
}

func (s *Sockets) through(d device, r Request, m []byte) error {
	b, err := s.bind(d)
	if err != nil {
		return err
	}
	if d.is4 {
		oob := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: r.From.As4()})
		return send(b.conn, m, oob, &unix.SockaddrInet4{Addr: r.To.As4()})
	}
	oob := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: r.From.As16()})
	return send(b.conn, m, oob, &unix.SockaddrInet6{Addr: r.To.As16()})
}

// request is the message. The kernel fills in the checksum of IPv6.
func (s *Sockets) request(r Request) []byte {
	header := 40
	if r.To.Is4() {
		header = 20
	}
	m := make([]byte, max(r.Size-header, icmpHeader+innerData))
	m[0] = echo6
	if r.To.Is4() {
		m[0] = echo4
	}
	binary.BigEndian.PutUint16(m[4:], s.ident)
	copy(m[icmpHeader:], s.tag[:])
	binary.BigEndian.PutUint64(m[icmpHeader+8:], r.ID)
	if r.To.Is4() {
		binary.BigEndian.PutUint16(m[2:], checksum(m))
	}
	return m
}

// bind is the socket of a device.
func (s *Sockets) bind(d device) (*bound, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.bound[d]; ok {
		return b, nil
	}
	if s.bound == nil {
		return nil, net.ErrClosed
	}
	if len(s.bound) >= maxDevices {
		return nil, fmt.Errorf("there are %d devices that are probed already", len(s.bound))
	}
	conn, err := listen(context.Background(), d.is4, icmp(d.is4), func(fd int) error {
		if err := attach(fd, nothing()); err != nil {
			return err
		}
		if err := unix.BindToDevice(fd, d.name); err != nil {
			return err
		}
		if d.is4 { // ip(7): don't fragment, and don't believe what others say of the path
			return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_DONTFRAG, 1); err != nil {
			return err
		}
		return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	})
	if err != nil {
		return nil, err
	}
	b := &bound{conn}
	s.bound[d] = b
	return b, nil
}

func (s *Sockets) unbind(d device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.bound[d]; ok {
		_ = b.conn.Close()
		delete(s.bound, d)
	}
}

// receive reads replies until the socket is closed.
func (i *inner) receive(ctx context.Context, tag [8]byte, answered func(Reply)) error {
	buf := make([]byte, 1<<16)
	for {
		n, _, _, from, err := i.conn.ReadMsgIP(buf, nil)
		at := time.Now()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("probe: receive: %w", err)
		}
		src, _ := netip.AddrFromSlice(from.IP)
		if r, ok := parseReply(i.is4, buf[:n], tag); ok {
			r.From, r.At = src.Unmap(), at
			answered(r)
		}
	}
}

// parseReply reads a reply to a request of ours: of IPv4 from the IP header on.
func parseReply(is4 bool, b []byte, tag [8]byte) (Reply, bool) {
	size, want := len(b), byte(reply4)
	if is4 {
		if len(b) < 20 || len(b) < int(b[0]&15)*4 {
			return Reply{}, false
		}
		b = b[int(b[0]&15)*4:]
	} else {
		size, want = size+40, reply6
	}
	if len(b) < icmpHeader+innerData || b[0] != want || b[1] != 0 || [8]byte(b[icmpHeader:]) != tag {
		return Reply{}, false
	}
	return Reply{ID: binary.BigEndian.Uint64(b[icmpHeader+8:]), Size: size}, true
}
