package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// rtSocket is a socket of NETLINK_ROUTE for the objects of which there are many.
// It is written by hand, not with a library, for two reasons: a peer is five
// messages and a thousand peers come at once, so that one system call must carry
// many; and its port id tells our own changes from others'. It is safe for
// concurrent use.
type rtSocket struct {
	fd  int
	pid uint32 // port id, which the kernel puts into the events that we cause

	mu  sync.Mutex
	seq uint32
	buf []byte
}

// rtMessage is one request to rtnetlink that changes something.
type rtMessage struct {
	typ   uint16 // RTM_*
	flags uint16 // beside NLM_F_REQUEST and NLM_F_ACK
	body  attrs  // the fixed part, then attributes, numbers in the host's byte order
}

// rtBatch is how many messages go to the kernel at once: of about 100 bytes each,
// they fit the smallest send buffer, and their answers the receive buffer.
const rtBatch = 256

func openRTSocket() (*rtSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("kernel: rtnetlink socket: %w", err)
	}
	s := &rtSocket{fd: fd, buf: make([]byte, 16<<10)}
	if s.pid, err = setupSocket(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("kernel: rtnetlink socket; the agent needs CAP_NET_ADMIN: %w", err)
	}
	return s, nil
}

func (s *rtSocket) close() error { return unix.Close(s.fd) }

// do sends messages, in order, and returns an error for each, nil where it was
// done. One that fails keeps none that follows from being done.
func (s *rtSocket) do(msgs []rtMessage) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, 0, len(msgs))
	for len(msgs) > 0 {
		n := min(rtBatch, len(msgs))
		errs = append(errs, s.batch(msgs[:n])...)
		msgs = msgs[n:]
	}
	return errs
}

func (s *rtSocket) batch(msgs []rtMessage) []error {
	var b []byte
	first := s.seq + 1
	for _, m := range msgs {
		s.seq++
		b = binary.NativeEndian.AppendUint32(b, uint32(nlHeader+len(m.body)))
		b = binary.NativeEndian.AppendUint16(b, m.typ)
		b = binary.NativeEndian.AppendUint16(b, m.flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		b = binary.NativeEndian.AppendUint32(b, s.seq)
		b = binary.NativeEndian.AppendUint32(b, s.pid)
		b = append(b, m.body...) // a multiple of 4 bytes
	}
	errs := make([]error, len(msgs))
	err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = s.answers(first, errs)
	}
	if err != nil {
		err = fmt.Errorf("%d messages to rtnetlink: %w", len(msgs), err)
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

// answers reads what the messages from a sequence number on were answered. The
// kernel works within the call that sends, so everything is there when that
// returns.
func (s *rtSocket) answers(first uint32, errs []error) error {
	for left := len(errs); left > 0; {
		size, _, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return errors.New("the kernel gave no answer")
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		err = eachMessage(s.buf[:size], func(m nlMessage) {
			if i := int(m.seq - first); m.typ == unix.NLMSG_ERROR && i >= 0 && i < len(errs) {
				errs[i] = m.err()
				left--
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
