package tunnel

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
)

// echoing accepts streams and sends back what comes.
func echoing(c *Conn, all *sync.WaitGroup) {
	for {
		r, err := c.Accept(context.Background())
		if err != nil {
			return
		}
		all.Go(func() {
			s, err := r.Accept()
			if err != nil {
				return
			}
			io.Copy(s, s)
			s.CloseWrite()
			s.Close()
		})
	}
}

func TestBothDirectionsFull(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		const streams, size = 64, 600 << 10 // beyond the window
		var ends, work sync.WaitGroup
		ends.Go(func() { echoing(to, &work) })
		for range streams {
			work.Go(func() {
				s, err := from.Open(context.Background(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				var writer sync.WaitGroup
				writer.Go(func() {
					s.Write(noise(size))
					s.CloseWrite()
				})
				if n, err := io.Copy(io.Discard, s); n != size || err != nil {
					t.Errorf("%d of %d bytes came back: %v", n, size, err)
				}
				writer.Wait()
			})
		}
		work.Wait()
		for _, c := range []*Conn{from, to} {
			if err := c.Quiet(context.Background()); err != nil {
				t.Error(err)
			}
			if s := c.Stats(); s.Held != 0 || s.Promised != 0 || s.Resets != 0 || s.Violations != 0 {
				t.Errorf("left: %+v", s)
			}
		}
		from.Close()
		ends.Wait()
	})
}

func TestStalledConsumersHoldUpNobody(t *testing.T) {
	onWires(t, func(t *testing.T, from, to *Conn) {
		const stalled = 50
		var writers sync.WaitGroup
		for range stalled {
			near, _ := open(t, from, to)
			writers.Go(func() {
				for {
					if _, err := near.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
			})
		}
		near, far := open(t, from, to)
		for range 100 {
			near.Write([]byte("ping"))
			if _, err := io.ReadFull(far, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
		}
		if s := to.Stats(); s.Held > stalled*firstWindow {
			t.Errorf("%d bytes are held", s.Held)
		}
		from.Close()
		to.Close()
		writers.Wait()
	})
}

func TestTenThousandStreams(t *testing.T) {
	const streams = 10_000
	from, to := pair(t, secure)
	var ends, work sync.WaitGroup
	ends.Go(func() { echoing(to, &work) })
	for range streams {
		work.Go(func() {
			s, err := from.Open(context.Background(), []byte("target"))
			if err != nil {
				t.Error(err)
				return
			}
			s.Write([]byte("hello"))
			s.CloseWrite()
			if got, err := io.ReadAll(s); string(got) != "hello" {
				t.Errorf("%q came back: %v", got, err)
			}
			s.Close()
		})
	}
	work.Wait()
	if err := to.Quiet(context.Background()); err != nil {
		t.Error(err)
	}
	from.Close()
	ends.Wait()
}

func TestMoreThanTheLimit(t *testing.T) {
	near, far := sockets(t, plain)
	from, to := join(t, near, far, Config{}, Config{MaxStreams: 3})
	for range 3 {
		open(t, from, to)
	}
	var no *Refusal
	if _, err := from.Open(context.Background(), nil); !errors.As(err, &no) || no.Code != Overloaded {
		t.Errorf("got %v", err)
	}
	open(t, to, from)
}
