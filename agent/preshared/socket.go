package preshared

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	wire "github.com/weft-net/weft/proto/preshared"
)

// Short is what stands for a key in logs and pages.
func Short(id [32]byte) string { return "sha256:" + hex.EncodeToString(id[:4]) }

// socket is one of the kernel's.
type socket struct {
	*net.UDPConn
	at netip.Addr
}

// listen opens the port at a fabric address, which may come a moment later.
func listen(ctx context.Context, at netip.Addr) (Net, error) {
	c := net.ListenConfig{Control: controlled(func(fd int) error {
		if at.Is4() {
			return errors.Join(unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1), unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_PKTINFO, 1))
		}
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1), unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1))
	})}
	conn, err := c.ListenPacket(ctx, "udp", netip.AddrPortFrom(at, wire.Port).String())
	if err != nil {
		return nil, fmt.Errorf("preshared: %w", err)
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("preshared: %T is no UDP socket", conn), conn.Close())
	}
	return &socket{udp, at}, nil
}

// controlled runs f on a socket before it is bound.
func controlled(f func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
			return cerr
		}
		return err
	}
}

// Send has a socket for each datagram: devices come and go, there are few messages, and
// only a socket that is bound to a device never sends by another.
func (s *socket) Send(dev string, to netip.Addr, b []byte) error {
	d := net.Dialer{
		LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.at, 0)),
		Control:   controlled(func(fd int) error { return unix.BindToDevice(fd, dev) }),
	}
	conn, err := d.DialContext(context.Background(), "udp", netip.AddrPortFrom(to, wire.Port).String()) // of UDP it does not wait
	if err != nil {
		return fmt.Errorf("preshared: %s: %w", dev, err)
	}
	defer conn.Close()
	_, err = conn.Write(b)
	return err
}

// Receive implements Net.
func (s *socket) Receive(b []byte) (n int, from netip.Addr, dev string, err error) {
	oob := make([]byte, 128)
	for {
		n, on, _, addr, err := s.ReadMsgUDPAddrPort(b, oob)
		if err != nil {
			return 0, from, "", fmt.Errorf("preshared: %w", err)
		}
		if dev, err = s.device(arrival(oob[:on])); err != nil {
			continue // it has gone since
		}
		return n, addr.Addr().Unmap(), dev, nil
	}
}

// device is the name of a device. One call of the kernel, for anybody may send here: to
// list all devices, as package net does, costs a node of many pods a millisecond.
func (s *socket) device(index int) (string, error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	ifr.SetUint32(uint32(index)) // struct ifreq's ifr_ifindex, of netdevice(7)
	raw, err := s.SyscallConn()
	if err != nil {
		return "", err
	}
	cerr := raw.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), unix.SIOCGIFNAME, ifr) })
	return ifr.Name(), errors.Join(err, cerr)
}

// arrival is the index of the device by which a datagram came (struct in_pktinfo of
// ip(7), struct in6_pktinfo of RFC 3542, section 6.1); 0 if it is not said.
func arrival(oob []byte) int {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range list {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return int(int32(binary.NativeEndian.Uint32(m.Data)))
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return int(int32(binary.NativeEndian.Uint32(m.Data[16:])))
		}
	}
	return 0
}
