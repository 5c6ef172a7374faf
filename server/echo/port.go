package echo

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// port is one UDP port, of both families where the host is empty.
type port struct {
	conn   *net.UDPConn
	number uint16
	oob    []byte
	gone   atomic.Bool // it failed for good
}

func listen(ctx context.Context, address string) (*port, error) {
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = tellDestination(int(fd), network) }); cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("echo: UDP %s: %w", address, err)
	}
	u := conn.(*net.UDPConn)
	return &port{conn: u, number: u.LocalAddr().(*net.UDPAddr).AddrPort().Port(), oob: make([]byte, 128)}, nil
}

// tellDestination has the socket say to which of the host's addresses a datagram came
// (ip(7), IP_PKTINFO; RFC 3542, section 6.2).
func tellDestination(fd int, network string) error {
	if network == "udp4" {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_PKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
}

// read reads one datagram, and the control message that has the answer leave from
// where it came to.
func (p *port) read(b []byte) (from netip.AddrPort, control []byte, n int, err error) {
	n, m, flags, from, err := p.conn.ReadMsgUDPAddrPort(b, p.oob)
	if err == nil && flags&unix.MSG_TRUNC != 0 {
		n = len(b) // longer than any request
	}
	return netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port()), answerFrom(p.oob[:m]), n, err
}

// answerFrom is the control message that answers with: the same address, by whatever
// device the kernel routes.
func answerFrom(oob []byte) []byte {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range list {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12:
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[4:8])})
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])})
		}
	}
	return nil
}

func (p *port) write(b, control []byte, to netip.AddrPort) error {
	_, _, err := p.conn.WriteMsgUDPAddrPort(b, control, to)
	if err != nil {
		return fmt.Errorf("echo: answer %v: %w", to, err)
	}
	return nil
}
