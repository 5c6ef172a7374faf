package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockBuffer is what the kernel may keep for a port in each direction, in bytes: what
// a device sends in the time in which this process does not run.
const sockBuffer = 4 << 20

// sock is a socket of UDP on loopback that is read and written many packets at a
// time: the kernel joins what came of one length (UDP_GRO) and cuts what is to go into
// such (UDP_SEGMENT; both udp(7) and Linux, net/ipv4/udp_offload.c).
type sock struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort

	in      receiver               // of the one who reads
	receive func() (*burst, error) // waits until something is there

	mu   sync.Mutex // guards out
	out  sender
	push func(fd uintptr) // sends what out holds
}

// openSock binds a port, 0 for any, that hears nobody until it is connected.
func openSock(at uint16) (*sock, error) {
	conn, err := listenLocal(at)
	if err != nil {
		return nil, err
	}
	s := &sock{conn: conn, local: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	if s.raw, err = conn.SyscallConn(); err != nil {
		conn.Close()
		return nil, err
	}
	s.setup()
	s.prepare()
	s.push = s.out.push
	if err := s.connect(s.local); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// setup asks for what makes it quick, none of which it needs to work.
func (s *sock) setup() {
	_ = s.raw.Control(func(fd uintptr) {
		for _, o := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o, sockBuffer)
		}
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.out.whole = err == nil
	})
}

// connect has the socket talk to one address of loopback, and the kernel keep away
// everybody else.
func (s *sock) connect(to netip.AddrPort) error {
	var err error
	failed := s.raw.Control(func(fd uintptr) {
		err = unix.Connect(int(fd), &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	})
	if err != nil {
		return fmt.Errorf("connect to %v: %w", to, err)
	}
	return failed
}

// receiver is what one system call of recvmsg needs.
type receiver struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	control [64]byte
	got     *burst
	err     error
}

// prepare makes receive: what it needs is made once, not for each call.
func (s *sock) prepare() {
	in := &s.in
	try := func(fd uintptr) bool {
		in.got, in.err = nil, nil
		b := newBurst()
		for b.room() {
			n, size, err := in.recvmsg(fd, b.buf[b.end:])
			if err == unix.EINTR || err == unix.ECONNREFUSED { // what was sent found no device
				continue
			}
			if err == unix.EAGAIN {
				break
			}
			if err != nil {
				in.err = os.NewSyscallError("recvmsg", err)
				break
			}
			b.add(n, size)
		}
		if len(b.came) == 0 {
			b.free()
			return in.err != nil
		}
		in.got = b
		return true
	}
	s.receive = func() (*burst, error) {
		if err := s.raw.Read(try); err != nil {
			return nil, err
		}
		if in.got == nil {
			return nil, in.err
		}
		return in.got, nil
	}
}

// recvmsg makes one system call. size is of each packet that b then holds; the last
// may be shorter.
func (in *receiver) recvmsg(fd uintptr, b []byte) (n, size int, err error) {
	in.iov.Base = &b[0]
	in.iov.SetLen(len(b))
	in.hdr = unix.Msghdr{Iov: &in.iov, Iovlen: 1, Control: &in.control[0]}
	in.hdr.SetControllen(len(in.control))
	got, _, no := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&in.hdr)), unix.MSG_DONTWAIT)
	if no != 0 {
		return 0, 0, no
	}
	return int(got), in.segment(int(got)), nil
}

// segment reads of which length the packets are that the kernel has joined: one
// control message, with a number of type int (Linux, net/ipv4/udp.c, udp_cmsg_recv).
func (in *receiver) segment(n int) int {
	if in.hdr.Controllen < unix.SizeofCmsghdr {
		return n
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&in.control[0]))
	if h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO || int(h.Len) < unix.CmsgLen(4) {
		return n
	}
	size := int(*(*int32)(unsafe.Pointer(&in.control[unix.CmsgLen(0)])))
	if size <= 0 || size > n {
		return n
	}
	return size
}

// sender is what sending needs.
type sender struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	control [32]byte
	whole   bool // the kernel cuts

	b    []byte // what is to be sent, of packets of a size
	size int
	lost int
}

// send sends packets of a size, the last of which may be shorter, and returns how many
// could not be sent.
func (s *sock) send(b []byte, size int) (lost int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.b, s.out.size, s.out.lost = b, size, 0
	if s.raw.Control(s.push) != nil {
		s.out.lost = (len(b) + size - 1) / size
	}
	s.out.b = nil
	return s.out.lost
}

// push sends what there is: in one system call, or, if the kernel cannot cut it, in one
// for each packet.
func (out *sender) push(fd uintptr) {
	if out.whole && len(out.b) > out.size {
		err := out.sendmsg(fd, out.b, out.size)
		if err == nil {
			return
		}
		out.whole = !never(err)
	}
	for len(out.b) > 0 {
		n := min(out.size, len(out.b))
		if out.sendmsg(fd, out.b[:n], 0) != nil {
			out.lost++
		}
		out.b = out.b[n:]
	}
}

// never says that a kernel that gave this error does not cut packets at all.
func never(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

// sendmsg makes one system call, or a second one if the first only told of a packet
// before: that nobody listened to it. size 0: b is one packet.
func (out *sender) sendmsg(fd uintptr, b []byte, size int) error {
	out.iov.Base = &b[0]
	out.iov.SetLen(len(b))
	out.hdr = unix.Msghdr{Iov: &out.iov, Iovlen: 1}
	if size > 0 {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&out.control[0]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		*(*uint16)(unsafe.Pointer(&out.control[unix.CmsgLen(0)])) = uint16(size)
		out.hdr.Control = &out.control[0]
		out.hdr.SetControllen(unix.CmsgSpace(2))
	}
	for again := true; ; {
		_, _, no := unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&out.hdr)), unix.MSG_DONTWAIT)
		switch {
		case no == 0:
			return nil
		case no == unix.EINTR:
		case no == unix.ECONNREFUSED && again:
			again = false
		default:
			return no
		}
	}
}
