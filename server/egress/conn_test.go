package egress

import (
	"bufio"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// Whatever stands between, the other end of what is aborted sees a reset.
func TestAbort(t *testing.T) {
	for name, wrap := range map[string]func(Conn) net.Conn{
		"TCP":         func(c Conn) net.Conn { return c },
		"handed on":   func(c Conn) net.Conn { return &ahead{Conn: c, in: bufio.NewReader(c)} },
		"counted":     func(c Conn) net.Conn { return &counted{Conn: c, trace: &trace{}, end: func() {}} },
		"counted hop": func(c Conn) net.Conn { return &counted{Conn: &ahead{Conn: c}, trace: &trace{}, end: func() {}} },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		near, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		Abort(wrap(near.(*net.TCPConn)), "a test")
		_ = far.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
		_, _ = far.Close(), l.Close()
	}
}
