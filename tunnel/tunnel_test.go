package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// onWires runs a test over each kind of connection, from both ends.
func onWires(t *testing.T, test func(t *testing.T, from, to *Conn)) {
	for _, w := range wires {
		t.Run(string(w), func(t *testing.T) {
			t.Run("from the client", func(t *testing.T) {
				a, b := pair(t, w)
				test(t, a, b)
			})
			t.Run("from the server", func(t *testing.T) {
				a, b := pair(t, w)
				test(t, b, a)
			})
		})
	}
}

func TestEcho(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		near, far := open(t, from, to)
		go func() {
			io.Copy(far, far)
			far.CloseWrite()
		}()
		sent := noise(3 << 20)
		go func() {
			near.Write(sent[:1])
			near.Write(sent[1:100])
			io.Copy(near, bytes.NewReader(sent[100:]))
			near.CloseWrite()
		}()
		got, err := io.ReadAll(near)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes came back of %d, or others: %v", len(got), len(sent), err)
		}
		near.Close()
		far.Close()
	})
}

func TestSocketsAreCopied(t *testing.T) {
	from, to := pair(t, secure)
	near, far := open(t, from, to)
	a, b := sockets(t, plain)
	x, y := sockets(t, plain)
	var all sync.WaitGroup
	all.Go(func() { io.Copy(near, b); near.CloseWrite() })
	all.Go(func() { io.Copy(y, far); y.(*net.TCPConn).CloseWrite() })
	sent := noise(5<<20 + 17)
	all.Go(func() { a.Write(sent); a.(*net.TCPConn).CloseWrite() })
	got, err := io.ReadAll(x)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came of %d, or others: %v", len(got), len(sent), err)
	}
	all.Wait()
	for _, c := range []io.Closer{a, b, x, y, near, far} {
		c.Close()
	}
}

func TestRefused(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		go func() {
			r, err := to.Accept(context.Background())
			if err != nil {
				return
			}
			if string(r.Target()) != "secret" || time.Until(r.Deadline()) > time.Minute {
				t.Errorf("asked for %q until %v", r.Target(), r.Deadline())
			}
			r.Refuse(Forbidden, "not for you")
			if err := r.Refuse(Forbidden, "again"); err == nil {
				t.Error("answered twice")
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := from.Open(ctx, []byte("secret"))
		var no *Refusal
		if !errors.As(err, &no) || no.Code != Forbidden || no.Reason != "not for you" {
			t.Errorf("got %v", err)
		}
		if n := from.Stats().Streams + to.Stats().Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

func TestOpenerGivesUp(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		ctx, cancel := context.WithCancel(context.Background())
		gaveUp := make(chan error, 1)
		go func() {
			_, err := from.Open(ctx, nil)
			gaveUp <- err
		}()
		r, err := to.Accept(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		heard := r.Context()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		<-heard.Done()
		if _, err := r.Accept(); err == nil {
			t.Error("a stream that nobody waits for was accepted")
		}
	})
}

func TestReset(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		near, far := open(t, from, to)
		near.Reset("had enough")
		_, err := io.ReadAll(far)
		var reset *ResetError
		if !errors.As(err, &reset) || reset.Reason != "had enough" || !reset.Remote || reset.Code != Reset {
			t.Errorf("the other end got %v", err)
		}
		if _, err := near.Write([]byte("x")); !errors.As(err, &reset) || reset.Remote {
			t.Errorf("this end got %v", err)
		}
		if n := from.Stats().Streams + to.Stats().Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

func TestCloseSendsWhatWasWritten(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		near, far := open(t, from, to)
		sent := noise(100 << 10)
		near.Write(sent)
		near.Close()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came of %d, or others: %v", len(got), len(sent), err)
		}
		for err = nil; err == nil; {
			_, err = far.Write(sent) // nobody reads
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("writing to nobody: %v", err)
		}
		far.Close()
	})
}

func TestDeadlines(t *testing.T) {
	from, to := pair(t, plain)
	near, far := open(t, from, to)
	near.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	near.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	near.SetReadDeadline(time.Time{})
	far.Write([]byte("x"))
	if _, err := near.Read(make([]byte, 1)); err != nil {
		t.Errorf("read: %v", err)
	}
	near.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := near.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
}

func TestDrain(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		near, far := open(t, from, to)
		to.Drain()
		<-from.Draining()
		var no *Refusal
		if _, err := from.Open(context.Background(), nil); !errors.As(err, &no) || no.Code != Draining {
			t.Errorf("opened on a drained session: %v", err)
		}
		back, forth := open(t, to, from) // the other direction goes on
		for _, s := range []*Stream{near, far, back, forth} {
			s.Write([]byte("still here"))
			s.CloseWrite()
		}
		for _, s := range []*Stream{near, far, back, forth} {
			if got, err := io.ReadAll(s); err != nil || string(got) != "still here" {
				t.Errorf("%q, %v", got, err)
			}
		}
		if err := to.Quiet(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestClose(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		near, far := open(t, from, to)
		from.Close()
		<-to.Done()
		if from.Err() == nil || to.Err() == nil {
			t.Errorf("closed: %v, %v", from.Err(), to.Err())
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := far.Write(make([]byte, 1)); err == nil {
			t.Error("wrote to a closed session")
		}
		if _, err := to.Open(context.Background(), nil); err == nil {
			t.Error("opened on a closed session")
		}
		if _, err := to.Accept(context.Background()); err == nil {
			t.Error("accepted on a closed session")
		}
		for _, c := range []*Conn{from, to} {
			if s := c.Stats(); s.Streams != 0 || s.Held != 0 || s.Promised != 0 {
				t.Errorf("left: %+v", s)
			}
		}
	})
}

func TestDatagrams(t *testing.T) {
	for _, w := range wires {
		near, far := sockets(t, w)
		got := make(chan string, 100)
		a, _ := join(t, near, far, Config{}, Config{Datagram: func(b []byte) { got <- string(b) }})
		for _, d := range []string{"one", "", strings.Repeat("x", a.MaxDatagram())} {
			if err := a.SendDatagram([]byte(d)); err != nil {
				t.Fatal(err)
			}
			if g := <-got; g != d {
				t.Errorf("%s: sent %d bytes, %d came", w, len(d), len(g))
			}
		}
		if err := a.SendDatagram(make([]byte, a.MaxDatagram()+1)); err == nil {
			t.Error("a datagram that is too long was sent")
		}
	}
}
