package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// icmp is one family's echo (RFC 792, RFC 4443 section 4).
type icmp struct {
	network        string
	request, reply byte
}

func icmpOf(a netip.Addr) icmp {
	if a.Is4() {
		return icmp{"ip4:icmp", 8, 0}
	}
	return icmp{"ip6:ipv6-icmp", 128, 129}
}

// echo is a socket in a host's namespace that sends echo requests to one address.
// Its packets carry a number of the socket's own beside their own, so that no reply
// is taken for another's, however many there are.
type echo struct {
	icmp
	conn   *net.IPConn
	to     net.IPAddr
	cookie uint64
}

const (
	echoHeader = 8               // bytes: type, code, checksum, identifier, sequence
	echoSize   = echoHeader + 16 // and the cookie, and the packet's number
	echoBuffer = 8 << 20         // bytes; some thousand replies for a reader that is not run for seconds
)

// dialEcho opens the socket. A socket stays in the namespace in which it was made.
func dialEcho(from *Host, to netip.Addr) (*echo, error) {
	e := &echo{icmp: icmpOf(to), to: net.IPAddr{IP: to.AsSlice()}, cookie: rand.Uint64()}
	err := within(from.Path(), func() error {
		conn, err := net.ListenPacket(e.network, "")
		if err != nil {
			return err
		}
		e.conn = conn.(*net.IPConn)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lab: echo from %s to %v: %w", from.Name, to, err)
	}
	if err := e.narrow(); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: echo from %s to %v: %w", from.Name, to, err), e.conn.Close())
	}
	return e, nil
}

// within runs do in a namespace. The thread goes back to its own: one that ended
// would take along the processes that it started (PR_SET_PDEATHSIG, prctl(2)).
func within(path string, do func() error) error {
	there, err := os.Open(path)
	if err != nil {
		return err
	}
	defer there.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = do()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // the thread would do others' work in a namespace of the lab's
	}
	return err
}

// Socket options of raw sockets: which types of message they get (icmp(7),
// RFC 3542 section 3.2). A bit that is set is a type that is not wanted.
const (
	icmpFilter  = 1
	icmp6Filter = 1
)

// narrow lets nothing but replies into the socket, and gives it room for many: what
// the reader is too slow for would look lost.
func (e *echo) narrow() error {
	raw, err := e.conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, echoBuffer), e.filter(int(fd)))
	})
	return errors.Join(err, failed)
}

func (e *echo) filter(fd int) error {
	if e.reply == 0 {
		return unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, ^1)
	}
	var blocked [8 * 4]byte
	for i := range blocked {
		blocked[i] = 0xff
	}
	word := blocked[e.reply/32*4:]
	binary.NativeEndian.PutUint32(word, ^(uint32(1) << (e.reply % 32)))
	return unix.SetsockoptString(fd, unix.SOL_ICMPV6, icmp6Filter, string(blocked[:]))
}

// send sends packet n. The kernel fills in ICMPv6's checksum.
func (e *echo) send(n int) error {
	b := make([]byte, echoSize)
	b[0] = e.request
	binary.BigEndian.PutUint16(b[4:], uint16(e.cookie))
	binary.BigEndian.PutUint16(b[6:], uint16(n))
	binary.BigEndian.PutUint64(b[echoHeader:], e.cookie)
	binary.BigEndian.PutUint64(b[echoHeader+8:], uint64(n))
	if e.request == 8 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	_, err := e.conn.WriteTo(b, &e.to)
	return err
}

// checksum is the internet's (RFC 1071) over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// receive returns the number of the next packet of ours that is answered.
func (e *echo) receive() (int, error) {
	for b := make([]byte, 1500); ; {
		n, _, err := e.conn.ReadFromIP(b)
		switch {
		case err != nil:
			return 0, err
		case n == echoSize && b[0] == e.reply && binary.BigEndian.Uint64(b[echoHeader:]) == e.cookie:
			return int(binary.BigEndian.Uint64(b[echoHeader+8:])), nil
		}
	}
}
