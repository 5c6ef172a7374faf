package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a TCP connection over loopback, both ends.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	near = c.(*net.TCPConn)
	for _, c := range []*net.TCPConn{near, far} {
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	}
	return near, far
}

// between relays two pairs, and returns the outer ends.
func between(t *testing.T, ctx context.Context) (left, right *net.TCPConn, ended chan error) {
	t.Helper()
	left, a := pair(t)
	b, right := pair(t)
	ended = make(chan error, 1)
	go func() { ended <- Both(ctx, a, b) }()
	return left, right, ended
}

func TestEachDirectionEndsByItself(t *testing.T) {
	left, right, ended := between(t, t.Context())
	_, _ = io.WriteString(left, "question")
	_ = left.CloseWrite()
	if b, err := io.ReadAll(right); string(b) != "question" || err != nil {
		t.Errorf("right heard %q, %v", b, err)
	}
	_, _ = io.WriteString(right, "answer")
	_ = right.CloseWrite()
	if b, err := io.ReadAll(left); string(b) != "answer" || err != nil {
		t.Errorf("left heard %q, %v", b, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAFailureEndsBoth(t *testing.T) {
	left, right, ended := between(t, t.Context())
	_ = left.SetLinger(0)
	_ = left.Close()
	if _, err := io.ReadAll(right); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("a reset is told as an end")
	}
}

func TestTheContextEndsBoth(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	left, right, ended := between(t, ctx)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, c := range []net.Conn{left, right} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("an end is open")
		}
	}
}
