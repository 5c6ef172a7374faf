package line

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func beat(n int64) *weftv1.SyncRequest {
	return &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{Heartbeat: &weftv1.Heartbeat{Sequence: n}}}
}

// encoded is a message as unknown fields.
func encoded(m proto.Message) *weftv1.SyncRequest {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	out := &weftv1.SyncRequest{}
	out.ProtoReflect().SetUnknown(b)
	return out
}

func long(n int) *weftv1.SyncRequest {
	return &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: &weftv1.Hello{Node: strings.Repeat("x", n)}}}
}

func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		from, to := New(a), New(b)
		both := encoded(long(large)) // and something beside
		both.Message = beat(3).Message
		sent := []*weftv1.SyncRequest{beat(1), {}, long(100), long(3 * chunk), beat(2), long(10), encoded(beat(4)), encoded(long(2 * large)), both, beat(5)}
		atRest := make(chan bool, 1)
		go func() {
			for _, m := range sent {
				if err := from.Send(m); err != nil {
					t.Error(err)
				}
			}
			if err := from.Flush(); err != nil {
				t.Error(err)
			}
			atRest <- from.out == nil
			from.End(nil)
		}()
		for i, want := range sent {
			got := &weftv1.SyncRequest{}
			b, err := proto.Marshal(want) // as it is on the wire
			if err == nil {
				want = &weftv1.SyncRequest{}
				err = proto.Unmarshal(b, want)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := to.Receive(got, 1<<20); err != nil || !proto.Equal(got, want) {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		if err := to.Receive(&weftv1.SyncRequest{}, 1<<20); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
		if !<-atRest {
			t.Error("a line at rest holds a buffer")
		}
		_ = to.Close()
	})
}

// TestTheLastWord: why a stream ended arrives behind what was sent before.
func TestTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		from, to := New(a), New(b)
		go func() {
			_ = from.Send(beat(1))
			from.Interrupt()
			from.End(status.Error(codes.PermissionDenied, "revoked"))
			from.Interrupt() // late, and of no effect
		}()
		got := &weftv1.SyncRequest{}
		if err := to.Receive(got, 100); err != nil || got.GetHeartbeat().GetSequence() != 1 {
			t.Errorf("%v, %v", got, err)
		}
		if err := to.Receive(got, 100); status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != "revoked" {
			t.Error(err)
		}
		_ = to.Close()
	})
}

// TestInterrupt: a Receive ends at once; a Send that nobody reads, soon; and so
// does the last word.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := net.Pipe()
		c := New(a)
		began := time.Now()
		ended := make(chan time.Duration, 2)
		go func() { _ = c.Receive(&weftv1.SyncRequest{}, 100); ended <- time.Since(began) }()
		go func() { _ = c.Send(long(2 * chunk)); ended <- time.Since(began) }()
		synctest.Wait()
		c.Interrupt()
		if first, second := <-ended, <-ended; first != 0 || second != farewell {
			t.Errorf("after %v and %v; want 0 s and %v", first, second, farewell)
		}
		c.End(errors.New("gone"))
		if took := time.Since(began); took > 2*farewell {
			t.Errorf("the last word took %v", took)
		}
	})
}

func TestWhatIsNoMessage(t *testing.T) {
	for _, tt := range []struct {
		name, bytes string
		message     bool // the error is of the bytes, not of the connection
	}{
		{"nothing", "", false},
		{"half a head", "\x00\x00", false},
		{"half a message", "\x00\x00\x00\x09abc", false},
		{"one too long", "\x00\x00\x01\x01" + strings.Repeat("x", 257), true},
		{"the longest there is", "\x7f\xff\xff\xff", true},
		{"not protobuf", "\x00\x00\x00\x02\xff\xff", true},
		{"a last word that is none", "\x80\x00\x00\x02\xff\xff", true},
		{"a last word too long", "\x80\x01\x00\x01", true},
	} {
		c := New(&said{Reader: strings.NewReader(tt.bytes)})
		if err := c.Receive(&weftv1.SyncRequest{}, 256); err == nil || errors.Is(err, ErrMessage) != tt.message {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// said is a connection on which all was said already.
type said struct {
	net.Conn
	io.Reader
}

func (s *said) Read(b []byte) (int, error) { return s.Reader.Read(b) }

// FuzzReceive: whatever comes, it ends, takes no more memory than came, and what it
// takes for a message can be sent again.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x80\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x04\x32\x02\x08\x07"))
	f.Add([]byte("\x80\x00\x00\x04\x08\x07\x12\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(&said{Reader: bytes.NewReader(b)})
		for {
			m := &weftv1.SyncRequest{}
			if err := c.Receive(m, 1<<10); err != nil {
				return
			}
			if err := New(nil).Send(m); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// torn takes so many bytes, then fails one write in its middle, and then takes all.
type torn struct {
	net.Conn
	room int
	got  []byte
}

func (c *torn) Write(b []byte) (int, error) {
	if n := c.room; n >= 0 && len(b) > n {
		c.room = -1
		c.got = append(c.got, b[:n]...)
		return n, os.ErrDeadlineExceeded
	}
	if c.room >= 0 {
		c.room -= len(b)
	}
	c.got = append(c.got, b...)
	return len(b), nil
}

func (*torn) SetDeadline(time.Time) error { return nil }
func (*torn) Close() error                { return nil }

// TestNothingFollowsAPartOfAFrame: whatever was written in part, and whatever is said
// next, the other end never reads a frame in the middle of another.
func TestNothingFollowsAPartOfAFrame(t *testing.T) {
	for _, first := range []proto.Message{beat(1), long(2 * chunk), encoded(long(2 * large))} {
		for _, room := range []int{0, 2, headBytes, headBytes + 1} {
			c := &torn{room: room}
			to := New(c)
			err := to.Send(first)
			if err == nil {
				err = to.Flush()
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("room for %d: the write said %v", room, err)
			}
			for what, err := range map[string]error{"send": to.Send(beat(2)), "large": to.Send(encoded(long(2 * large))), "flush": to.Flush()} {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("room for %d: %s after it said %v", room, what, err)
				}
			}
			if to.End(status.Error(codes.Aborted, "enough")); len(c.got) > headBytes+1 {
				t.Errorf("room for %d: %d bytes were written", room, len(c.got))
			}
		}
	}
}
