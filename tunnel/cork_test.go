package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A full socket is told without waiting, and what it did not take comes later, in
// order.
func TestCorkTriesWithoutWaiting(t *testing.T) {
	near, far := sockets(t, plain)
	defer near.Close()
	defer far.Close()
	k := NewCork(near)
	k.put()
	var sent []byte
	for full := false; !full; {
		piece := noise(100_000)
		sent = append(sent, piece...)
		if n, err := k.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		done, err := k.flush(0)
		if err != nil {
			t.Fatal(err)
		}
		full = !done
	}
	k.Write([]byte("and more"))
	sent = append(sent, "and more"...)
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(far)
		got <- b
	}()
	if done, err := k.flush(time.Minute); !done || err != nil {
		t.Fatalf("%v, %v", done, err)
	}
	near.Close()
	if b := <-got; !bytes.Equal(b, sent) {
		t.Errorf("%d bytes came of %d, or others", len(b), len(sent))
	}
}

func TestCorkGivesUpOnWhoTakesNothing(t *testing.T) {
	for _, w := range []wire{plain, memory} {
		near, far := sockets(t, w)
		k := NewCork(near)
		k.put()
		var err error
		for err == nil {
			k.Write(noise(100_000))
			_, err = k.flush(20 * time.Millisecond)
		}
		if !errors.Is(err, ErrDead) {
			t.Errorf("%s: %v", w, err)
		}
		k.kill()
		if _, err := k.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: after the end: %v", w, err)
		}
		far.Close()
	}
}

// What merely embeds a socket may read and write otherwise, and is not gone around.
func TestOnlyTrueSocketsAreGoneAround(t *testing.T) {
	near, far := sockets(t, plain)
	defer near.Close()
	defer far.Close()
	wrapped := struct{ *net.TCPConn }{near.(*net.TCPConn)}
	for _, test := range []struct {
		name string
		conn any
		want bool
	}{
		{"a socket", near, true},
		{"what embeds one", wrapped, false},
		{"its pointer", &wrapped, false},
		{"no socket", bytes.NewReader(nil), false},
		{"nothing", nil, false},
	} {
		if got := rawOf(test.conn) != nil; got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestPace(t *testing.T) {
	var p pace
	for _, step := range []struct {
		took  time.Duration
		limit int
	}{
		{time.Millisecond, 192 << 10},
		{30 * time.Millisecond, 96 << 10},
		{10 * time.Millisecond, 96 << 10},
		{time.Second, 48 << 10},
		{time.Second, 24 << 10},
		{time.Second, 24 << 10},
		{time.Millisecond, 48 << 10},
	} {
		if p.note(step.took); p.limit() != step.limit {
			t.Errorf("after %v: %d bytes, not %d", step.took, p.limit(), step.limit)
		}
	}
}
