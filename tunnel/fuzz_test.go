package tunnel

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzHeader: what is accepted is encoded to the same bytes.
func FuzzHeader(f *testing.F) {
	f.Add(rawOpen(1, "target")[:headerSize])
	f.Add(raw(kindPing, 0, "12345678")[:headerSize])
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		h, err := parseHeader(b[:headerSize])
		if err != nil {
			if !strings.HasPrefix(err.Error(), "tunnel: a frame of kind") {
				t.Error(err)
			}
			return
		}
		if h.length > maxData {
			t.Errorf("%d bytes were accepted", h.length)
		}
		again := make([]byte, headerSize)
		if h.put(again); !bytes.Equal(again, b[:headerSize]) {
			t.Errorf("%x became %x", b[:headerSize], again)
		}
	})
}

// FuzzReason: what comes back is what was sent, but for what is no text.
func FuzzReason(f *testing.F) {
	f.Add([]byte("\x03not for you"))
	f.Add([]byte("\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 1+maxReason {
			return
		}
		r := parseReason(b)
		sent := appendReason(nil, kindReset, 1, r)[headerSize:]
		if diff := cmp.Diff(r, parseReason(sent[:min(len(sent), 1+maxReason)])); diff != "" && len(r.Reason) <= maxReason {
			t.Error(diff)
		}
	})
}

// FuzzServer and FuzzClient have an end read any message, between two in which an
// application does its part. Nothing may be left over, whatever came.
func FuzzServer(f *testing.F) { fuzzEnd(f, false) }

// FuzzClient is the same for the end that dialled.
func FuzzClient(f *testing.F) { fuzzEnd(f, true) }

func fuzzEnd(f *testing.F, client bool) {
	theirs, ours := uint32(1), uint32(2)
	if client {
		theirs, ours = 2, 1
	}
	all := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	f.Add(all(rawOpen(theirs, "a"), rawOpen(theirs+2, "b")), all(rawData(theirs, 100), raw(kindFin, theirs, ""), raw(kindReset, theirs+2, "\x09")))
	f.Add(raw(kindAccept, ours, "\x00\x04\x00\x00"), all(rawData(ours, 5000), raw(kindWindow, ours, "\x00\x00\x10\x00"), raw(kindFin, ours, "")))
	f.Add(raw(kindRefuse, ours, "\x03no"), raw(kindGoAway, 0, "\x06"))
	f.Add(raw(kindPing, 0, "12345678"), all(raw(kindDatagram, 0, "x"), raw(kindPong, 0, "12345678")))
	f.Add(all(rawOpen(theirs, "a"), rawData(theirs, 1)), all(raw(99, 0, "later"), raw(kindFin, theirs, "")))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		budget := NewBudget(1 << 20)
		near, far := sockets(t, memory)
		configs := [2]Config{{Budget: budget, MaxStreams: 8}, {}}
		if !client {
			configs[0], configs[1] = configs[1], configs[0]
		}
		a, b := join(t, near, far, configs[0], configs[1])
		c, other := a, b
		if !client {
			c, other = b, a
		}
		other.mu.Lock()
		other.next, other.theirs = 1<<20+other.next, 1<<20 // knows all numbers, so that it skips what comes
		other.mu.Unlock()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var apps sync.WaitGroup
		opening, giveUp := context.WithCancel(context.Background())
		apps.Go(func() {
			if s, err := c.Open(opening, []byte("x")); err == nil {
				s.Write([]byte("hello")) // may wait for a window for ever
				s.CloseWrite()
				<-opening.Done()
				s.Close() // gives up what it did not read; the session's end does not: it can still be read
			}
		})
		var open []*Stream
		for _, message := range [][]byte{first, second} {
			if err := c.takeMessage(bytes.NewReader(message), make([]byte, headerSize)); err != nil {
				c.fail(err)
			}
			for i := 0; ; i++ {
				r, err := c.Accept(ctx)
				if err != nil {
					break
				}
				if i%3 == 2 {
					r.Refuse(Forbidden, "no")
				} else if s, err := r.Accept(); err == nil {
					open = append(open, s)
				}
			}
			if held := budget.Held(); held > budget.Limit() {
				t.Errorf("%d bytes are held", held)
			}
		}
		for i, s := range open {
			apps.Go(func() {
				if i%2 == 0 {
					s.Write([]byte("answer"))
				}
				s.Close()
			})
		}
		giveUp()
		c.Close()
		apps.Wait()
		other.Close()
		if budget.Held() != 0 || budget.Promised() != 0 {
			t.Errorf("left: %d bytes held, %d promised", budget.Held(), budget.Promised())
		}
	})
}
