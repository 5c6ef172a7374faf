package userspace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// moves is the events of addresses that go, and of default routes. An address that comes
// takes no other's place as yet.
type moves struct{ file *os.File }

// openMoves listens in the network namespace of the calling thread.
func openMoves() (*moves, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("userspace: rtnetlink socket: %w", err)
	}
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("userspace: listen to addresses and routes: %w", err)
	}
	return &moves{os.NewFile(uintptr(fd), "rtnetlink")}, nil
}

// run calls moved after each event, until close.
func (m *moves) run(moved func()) {
	buf := make([]byte, 1<<16)
	for {
		n, err := m.file.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS): // some were dropped
			moved()
		case err != nil:
			return
		case isMove(buf[:n]):
			moved()
		}
	}
}

func (m *moves) close() { _ = m.file.Close() }

// isMove tells whether one of some messages (struct nlmsghdr) is of an address that went, or of
// a route to anywhere (struct rtmsg, rtm_dst_len 0).
func isMove(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return false
		}
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.RTM_DELADDR:
			return true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if n > unix.SizeofNlMsghdr+1 && b[unix.SizeofNlMsghdr+1] == 0 {
				return true
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return false
}
