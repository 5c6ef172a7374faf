package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Bounds of the sockets.
const (
	receiveBuffer = 1 << 18 // bytes that wait in the kernel; beyond, the newest is lost
	maxDevices    = 32      // sockets bound to one each
)

// Sockets are those of one network namespace. Its methods are safe for concurrent use.
type Sockets struct {
	outer []*outer // one a family that the kernel has
	inner []*inner
	ident uint16  // of our echo requests
	tag   [8]byte // drawn: what their data begins with

	mu    sync.Mutex
	bound map[device]*bound // nil: closed
}

// Open opens the sockets of both families, or of the one that the kernel has.
func Open(ctx context.Context) (*Sockets, error) {
	s := &Sockets{bound: map[device]*bound{}}
	var seed [2]byte
	_, _ = rand.Read(seed[:])
	_, _ = rand.Read(s.tag[:])
	s.ident = binary.BigEndian.Uint16(seed[:])
	for _, is4 := range []bool{true, false} {
		err := s.open(ctx, is4)
		if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) && !is4 {
			continue
		}
		if err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Sockets) open(ctx context.Context, is4 bool) error {
	o, err := openOuter(ctx, is4)
	if err != nil {
		return err
	}
	s.outer = append(s.outer, o)
	i, err := openInner(ctx, is4, s.ident)
	if err != nil {
		return err
	}
	s.inner = append(s.inner, i)
	return nil
}

// Close closes all. It may be called more than once.
func (s *Sockets) Close() {
	for _, o := range s.outer {
		o.close()
	}
	for _, i := range s.inner {
		_ = i.conn.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bound {
		_ = b.conn.Close()
	}
	s.bound = nil
}

// Ports are the UDP ports that outer datagrams are taken for; before the first call
// there is none.
func (s *Sockets) Ports(ports []uint16) error {
	ports = slices.Compact(slices.Sorted(slices.Values(ports)))
	var errs []error
	for _, o := range s.outer {
		errs = append(errs, control(o.conn, func(fd int) error { return attach(fd, outerFilter(o.is4, ports)) }))
	}
	return errors.Join(errs...)
}

// Run hands on what comes until ctx ends, and closes the sockets. The two functions
// are called from several goroutines; what they are given is theirs.
func (s *Sockets) Run(ctx context.Context, heard func(Datagram), answered func(Reply)) error {
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	for _, o := range s.outer {
		g.Go(func() error { return o.receive(gctx, heard) })
	}
	for _, i := range s.inner {
		g.Go(func() error { return i.receive(gctx, s.tag, answered) })
	}
	return g.Wait()
}

// listen opens a raw socket of a protocol. prepare is called before anything can be
// read from it.
func listen(ctx context.Context, is4 bool, protocol string, prepare func(fd int) error) (*net.IPConn, error) {
	network := "ip6:" + protocol
	if is4 {
		network = "ip4:" + protocol
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = prepare(int(fd)) }); cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := lc.ListenPacket(ctx, network, "")
	switch {
	case errors.Is(err, syscall.EPERM):
		return nil, fmt.Errorf("probe: raw socket %s: %w; the agent needs CAP_NET_RAW", network, err)
	case err != nil:
		return nil, fmt.Errorf("probe: raw socket %s: %w", network, err)
	}
	_ = conn.(*net.IPConn).SetReadBuffer(receiveBuffer)
	return conn.(*net.IPConn), nil
}

// control works on the socket itself.
func control(conn *net.IPConn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inside error
	if err := raw.Control(func(fd uintptr) { inside = f(int(fd)) }); err != nil {
		return err
	}
	return inside
}

// send sends at once or not at all: what does not fit into the socket's buffer is
// lost, as on the way.
func send(conn *net.IPConn, b, oob []byte, to unix.Sockaddr) error {
	return control(conn, func(fd int) error {
		_, err := unix.SendmsgN(fd, b, oob, to, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return err
	})
}
