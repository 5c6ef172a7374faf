package probe

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// routes tells from which address the kernel sends to another: connecting a UDP socket
// makes it route, and sends nothing.
type routes struct {
	mu sync.Mutex
	fd int
}

func openRoutes() (*routes, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("probe: UDP socket: %w", err)
	}
	return &routes{fd: fd}, nil
}

func (r *routes) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = unix.Close(r.fd)
	r.fd = -1
}

// source is for IPv4.
func (r *routes) source(to netip.AddrPort) (netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return netip.Addr{}, os.ErrClosed
	}
	// Without this, the source of the first route stays (connect(2), AF_UNSPEC; Linux:
	// net/ipv4/datagram.c, __ip4_datagram_connect).
	none := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
	if _, _, no := unix.Syscall(unix.SYS_CONNECT, uintptr(r.fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none)); no != 0 {
		return netip.Addr{}, fmt.Errorf("probe: disconnect: %w", no)
	}
	if err := unix.Connect(r.fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return netip.Addr{}, fmt.Errorf("probe: no way to %v: %w", to, err)
	}
	at, err := unix.Getsockname(r.fd)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("probe: no way to %v: %w", to, err)
	}
	return netip.AddrFrom4(at.(*unix.SockaddrInet4).Addr), nil
}

// number is a control message of a number.
func number(level, kind int32, v int32) []byte {
	b := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(4))
	*(*int32)(unsafe.Pointer(&b[unix.CmsgLen(0)])) = v
	return b
}
