package tunnel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"sync"
	"syscall"
	"time"
)

// Cork is a connection to be put beneath TLS: tls.Client(tunnel.NewCork(conn), …).
// Until a tunnel stands on it, it does nothing. Then it gathers the records that
// crypto/tls writes one by one, 16 KB each, and hands them to the socket in one
// system call; and it can tell a full socket without waiting for it, which lets a
// caller write for himself. A tunnel works without, only slower. Of the tls.Config,
// DynamicRecordSizingDisabled should be set: records are as large as what is sent.
type Cork struct {
	net.Conn
	raw syscall.RawConn // nil: not a socket of package net

	mu     sync.Mutex
	corked bool
	dead   bool
	in     *corkBuffer // grows

	// Of who holds the writer's role.
	out *corkBuffer // is being written
	off int
}

type corkBuffer struct{ b []byte }

// corkSize is a message with what TLS adds to each of its records.
const corkSize = batchSize + 8<<10

// corkLimit bounds what may wait: far more than the one message that ever does.
const corkLimit = 1 << 20

// corkBuffers are shared by all sessions: one is held only while bytes wait.
var corkBuffers = sync.Pool{New: func() any { return &corkBuffer{b: make([]byte, 0, corkSize)} }}

var errCork = errors.New("tunnel: more was written than is ever flushed at once")

// NewCork returns conn as a Cork.
func NewCork(conn net.Conn) *Cork { return &Cork{Conn: conn, raw: rawOf(conn)} }

// NetConn returns the connection beneath.
func (k *Cork) NetConn() net.Conn { return k.Conn }

// rawOf returns the socket of a connection that is package net's own. One that
// merely embeds such a connection may mean something else by Read and Write.
func rawOf(conn any) syscall.RawConn {
	t := reflect.TypeOf(conn)
	if t == nil {
		return nil
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok || t.PkgPath() != "net" {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// Write implements net.Conn. Once corked it never waits.
func (k *Cork) Write(p []byte) (int, error) {
	k.mu.Lock()
	if !k.corked {
		k.mu.Unlock()
		return k.Conn.Write(p)
	}
	defer k.mu.Unlock()
	if k.dead {
		return 0, net.ErrClosed
	}
	if k.in == nil {
		k.in = corkBuffers.Get().(*corkBuffer)
	}
	if len(k.in.b)+len(p) > corkLimit {
		return 0, errCork
	}
	k.in.b = append(k.in.b, p...)
	return len(p), nil
}

// SetWriteDeadline implements net.Conn. Once corked, deadlines are flush's.
func (k *Cork) SetWriteDeadline(t time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.corked {
		return nil
	}
	return k.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (k *Cork) SetDeadline(t time.Time) error {
	return errors.Join(k.SetReadDeadline(t), k.SetWriteDeadline(t))
}

// put begins to cork.
func (k *Cork) put() {
	k.mu.Lock()
	k.corked = true
	k.mu.Unlock()
}

// kill ends writing, that of crypto/tls when it says goodbye included.
func (k *Cork) kill() {
	k.mu.Lock()
	k.corked, k.dead, k.in = true, true, nil
	k.mu.Unlock()
	k.Conn.Close()
}

// flush hands to the socket what was written. Without patience (0) it returns false
// as soon as it would have to wait; with patience, only a socket that takes nothing
// for that long is an error.
func (k *Cork) flush(patience time.Duration) (bool, error) {
	for k.take() {
		n, err := k.try(k.out.b[k.off:], patience)
		k.off += n
		if err != nil {
			return false, err
		}
		if k.off < len(k.out.b) && patience == 0 {
			return false, nil
		}
	}
	return true, nil
}

// take sees to it that out holds what is next to be written, and tells whether
// there is any.
func (k *Cork) take() bool {
	if k.out != nil && k.off < len(k.out.b) {
		return true
	}
	if k.out != nil {
		if cap(k.out.b) <= corkSize {
			k.out.b = k.out.b[:0]
			corkBuffers.Put(k.out)
		}
		k.out, k.off = nil, 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.out, k.in = k.in, nil
	return k.out != nil
}

// try writes some of p, waiting at most patience for the socket to take any.
func (k *Cork) try(p []byte, patience time.Duration) (int, error) {
	switch {
	case k.raw != nil && patience == 0:
		return k.write(p, false)
	case k.raw == nil && patience == 0:
		return 0, nil // only waiting would tell
	case k.raw != nil:
		if n, err := k.write(p, false); n > 0 || err != nil {
			return n, err
		}
	}
	if err := k.Conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	defer k.Conn.SetWriteDeadline(time.Time{})
	n, err := 0, error(nil)
	if k.raw != nil {
		n, err = k.write(p, true)
	} else {
		n, err = k.Conn.Write(p)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, fmt.Errorf("%w: nothing could be written for %v", ErrDead, patience)
	}
	return n, err
}

// write makes one system call that succeeds, or none.
func (k *Cork) write(p []byte, wait bool) (n int, err error) {
	failed := k.raw.Write(func(fd uintptr) bool {
		for {
			n, err = syscall.Write(int(fd), p)
			if err != syscall.EINTR {
				break
			}
		}
		n = max(n, 0)
		if err == syscall.EAGAIN {
			err = nil
			return !wait
		}
		return true
	})
	if failed != nil {
		return n, failed
	}
	return n, os.NewSyscallError("write", err)
}
