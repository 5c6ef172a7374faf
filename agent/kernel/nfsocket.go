package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// nfSocket is a socket of NETLINK_NETFILTER. Transactions are written by hand,
// not with a library, for three reasons: an answer must find the step that it
// is about; 100,000 elements need one buffer and no acknowledgement each; and
// after an error nothing may be left in the socket for the next call to read.
type nfSocket struct {
	fd  int
	pid uint32 // port id, which the kernel puts into the events that we cause
	seq uint32
	buf []byte
}

// nfMessage is one request to nftables.
type nfMessage struct {
	typ   uint16 // NFT_MSG_*
	flags uint16 // beside NLM_F_REQUEST
	body  attrs

	family uint8 // NFPROTO_*; 0: that of table inet weft
}

const (
	nlHeader   = unix.SizeofNlMsghdr
	nfHeader   = 4                 // struct nfgenmsg
	inetFamily = unix.NFPROTO_INET // of table inet weft
	readBuffer = 256 << 10         // bytes; a dump's message is at most 32 KiB (net/netlink/af_netlink.c)
)

func openNFSocket() (*nfSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("kernel: nftables socket: %w", err)
	}
	s := &nfSocket{fd: fd, buf: make([]byte, readBuffer)}
	if s.pid, err = setupSocket(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("kernel: nftables socket; the agent needs CAP_NET_ADMIN: %w", err)
	}
	return s, nil
}

// setupSocket binds a netlink socket and returns its port id.
func setupSocket(fd int) (pid uint32, err error) {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	timeout := unix.Timeval{Sec: 10} // the kernel answers at once; this bounds a bug
	return addr.(*unix.SockaddrNetlink).Pid, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvbuf),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
	)
}

func (s *nfSocket) close() error { return unix.Close(s.fd) }

// append writes one message and returns its sequence number.
func (s *nfSocket) append(b []byte, typ, flags uint16, family uint8, res uint16, body []byte) ([]byte, uint32) {
	s.seq++
	b = binary.NativeEndian.AppendUint32(b, uint32(nlHeader+nfHeader+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, s.seq)
	b = binary.NativeEndian.AppendUint32(b, s.pid)
	b = append(b, family, 0)                  // NFNETLINK_V0
	b = binary.BigEndian.AppendUint16(b, res) // of a batch: the subsystem
	return append(b, body...), s.seq
}

func nftType(msg uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | msg }

// commit sends messages as one transaction and returns what failed, by index.
// An error that is about no message is the second value. All or nothing is done.
func (s *nfSocket) commit(msgs []nfMessage) (map[int]error, error) {
	b, begin := s.append(nil, unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	for i, m := range msgs {
		flags := m.flags
		if i == len(msgs)-1 {
			flags |= unix.NLM_F_ACK
		}
		b, _ = s.append(b, nftType(m.typ), flags, cmp.Or(m.family, inetFamily), 0, m.body)
	}
	b, _ = s.append(b, unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	// The whole batch must fit into the send buffer.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, max(2*len(b), 1<<20)); err != nil {
		return nil, fmt.Errorf("send buffer for %d bytes: %w", len(b), err)
	}
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("send %d bytes: %w", len(b), err)
	}
	return s.answers(begin, len(msgs))
}

// answers reads what a transaction was answered. The kernel works within the
// call that sends, so everything is there when that returns: what is read ends
// with the queue, whatever the kernel left out.
func (s *nfSocket) answers(begin uint32, n int) (map[int]error, error) {
	failed := map[int]error{}
	var whole error
	acked := false
	for {
		size, _, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			if whole == nil && len(failed) == 0 && !acked {
				whole = errors.New("the kernel gave no answer")
			}
			return failed, whole
		case err != nil:
			return failed, fmt.Errorf("receive: %w", err)
		}
		err = eachMessage(s.buf[:size], func(m nlMessage) {
			if m.typ != unix.NLMSG_ERROR {
				return
			}
			err := m.err()
			i := int(m.seq - begin - 1)
			switch {
			case err == nil:
				acked = true
			case i >= 0 && i < n:
				failed[i] = err
			default:
				whole = fmt.Errorf("commit: %w", err)
			}
		})
		if err != nil {
			return failed, err
		}
	}
}

// dump asks for a list of family inet and returns its messages. A table that is
// not there is an empty one. A list that changed while it was read is read again.
func (s *nfSocket) dump(typ uint16, body []byte) ([][]byte, error) {
	return s.dumpOf(inetFamily, typ, body)
}

// dumpOf is dump of any family (NFPROTO_*).
func (s *nfSocket) dumpOf(family uint8, typ uint16, body []byte) ([][]byte, error) {
	for range 5 {
		out, whole, err := s.dumpOnce(family, typ, body)
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		if err != nil || whole {
			return out, err
		}
	}
	return nil, errors.New("kernel: nftables change faster than they can be read")
}

func (s *nfSocket) dumpOnce(family uint8, typ uint16, body []byte) (out [][]byte, whole bool, err error) {
	b, seq := s.append(nil, nftType(typ), unix.NLM_F_DUMP, family, 0, body)
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, false, fmt.Errorf("kernel: ask nftables: %w", err)
	}
	whole = true
	for done := false; !done; {
		size, _, err := unix.Recvfrom(s.fd, s.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("kernel: answer of nftables: %w", err)
		}
		var answer error
		err = eachMessage(s.buf[:size], func(m nlMessage) {
			if m.seq != seq {
				return
			}
			whole = whole && m.flags&unix.NLM_F_DUMP_INTR == 0
			switch {
			case m.typ == unix.NLMSG_DONE:
				done = true
			case m.typ == unix.NLMSG_ERROR:
				done, answer = true, m.err()
			case len(m.body) >= nfHeader:
				out = append(out, bytes.Clone(m.body[nfHeader:]))
			}
		})
		if err := errors.Join(err, answer); err != nil {
			return nil, false, err
		}
	}
	return out, whole, nil
}

// nlMessage is one netlink message.
type nlMessage struct {
	typ, flags uint16
	seq, pid   uint32
	body       []byte
}

func eachMessage(b []byte, f func(nlMessage)) error {
	for len(b) >= nlHeader {
		n := int(binary.NativeEndian.Uint32(b))
		if n < nlHeader || n > len(b) {
			return fmt.Errorf("kernel: netlink message of %d bytes in %d", n, len(b))
		}
		f(nlMessage{
			typ: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
			seq: binary.NativeEndian.Uint32(b[8:]), pid: binary.NativeEndian.Uint32(b[12:]), body: b[nlHeader:n],
		})
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

// err is what an NLMSG_ERROR says, with the kernel's own explanation if it gave
// one (NLMSGERR_ATTR_MSG, include/uapi/linux/netlink.h).
func (m nlMessage) err() error {
	const explanation = 1 // NLMSGERR_ATTR_MSG
	if len(m.body) < 4 {
		return errors.New("error message without a number")
	}
	number := int32(binary.NativeEndian.Uint32(m.body))
	if number == 0 {
		return nil
	}
	err := error(unix.Errno(-number))
	if m.flags&unix.NLM_F_ACK_TLVS == 0 || len(m.body) < 4+nlHeader {
		return err
	}
	why := ""
	_ = each(m.body[4+nlHeader:], func(typ uint16, v []byte) {
		if typ == explanation {
			why = text(v)
		}
	})
	if why != "" {
		return fmt.Errorf("%s: %w", why, err)
	}
	return err
}
