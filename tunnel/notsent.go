package tunnel

import "golang.org/x/sys/unix"

// notSent is how much the kernel takes that it cannot send yet, in bytes
// (TCP_NOTSENT_LOWAT, tcp(7)): what is beyond waits here, where what is urgent can
// still pass it.
const notSent = 128 << 10

// keepShort bounds what the kernel holds unsent, to a message's length where that is
// less. A connection without a socket keeps what it has.
func (l *link) keepShort(message int) {
	if l.cork == nil || l.cork.raw == nil {
		return
	}
	_ = l.cork.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, min(notSent, message))
	})
}
