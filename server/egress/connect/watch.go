package connect

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watch looks after a client that has ended its own direction, until the target has
// ended as well. What was closed altogether looks the same to a reader, and a target
// that neither speaks nor ends would be kept for nobody.
func (p *passage) watch(target net.Conn) {
	tick := time.NewTicker(p.look)
	defer tick.Stop()
	for {
		select {
		case <-p.down:
			return
		case <-tick.C:
			if gone(p.client) {
				p.cut(target, "the client is gone")
				return
			}
		}
	}
}

// gone tells whether the other end of a connection has closed it altogether. Of TCP
// that shows once a probe was answered by a reset, of a unix socket at once.
func gone(c net.Conn) bool {
	s, ok := under(c).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	hung := false
	err = raw.Control(func(fd uintptr) {
		look := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR are always looked for (poll(2))
		n, err := unix.Poll(look, 0)
		hung = err == nil && n > 0 && look[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return hung || err != nil
}
