package disco

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// two are the ends of a new line, as two agents make them.
func two(t testing.TB) (a, b *Line) {
	t.Helper()
	x, y := pair(t)
	return NewLine(x), NewLine(y)
}

// pair are the keys of a new pair, of either end.
func pair(t testing.TB) (a, b Keys) {
	t.Helper()
	var private, public [2]Key
	for i := range private {
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private[i], public[i] = Key(k.Bytes()), Key(k.PublicKey().Bytes())
	}
	return derive(t, private[0], public[0], public[1]), derive(t, private[1], public[1], public[0])
}

func derive(t testing.TB, private, own, peer Key) Keys {
	t.Helper()
	s, err := Shared(private, peer)
	if err != nil {
		t.Fatal(err)
	}
	k, err := Derive(s, own, peer)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var somewhere = netip.MustParseAddrPort("[2001:db8::7]:51820")

// ask has a ping go from one end to the other and its pong come back. It answers
// whether the ping counted.
func ask(t testing.TB, from, to *Line, n Note) (fresh bool, pong Heard) {
	t.Helper()
	b, number := from.Ping(n)
	h, err := to.Open(b)
	if err != nil || h.Kind != Ping || h.Note != n {
		t.Fatalf("ping: %+v, %v", h, err)
	}
	pong, err = from.Open(to.Pong(h, somewhere, Note{Sends: 5}))
	if err != nil || pong.Kind != Pong || pong.Number != number || pong.Observed != somewhere || pong.Note.Sends != 5 || pong.Fresh != h.Fresh {
		t.Fatalf("pong: %+v, %v", pong, err)
	}
	return h.Fresh, pong
}

func TestSecondPingCounts(t *testing.T) {
	a, b := two(t)
	if fresh, _ := ask(t, a, b, Note{Nominate: true, Sends: 3}); fresh {
		t.Error("a ping without the token counted")
	}
	if fresh, _ := ask(t, a, b, Note{Call: true, Opened: somewhere}); !fresh {
		t.Error("a ping with the token did not count")
	}
}

func TestSizes(t *testing.T) {
	a, b := two(t)
	ping, _ := a.Ping(Note{})
	h, err := b.Open(ping)
	if err != nil {
		t.Fatal(err)
	}
	if pong := b.Pong(h, netip.AddrPort{}, Note{}); len(ping) != Size || len(pong) != Size || Size != 88 {
		t.Errorf("ping %d, pong %d, Size %d", len(ping), len(pong), Size)
	}
	if kind := ping[0]; kind >= 1 && kind <= 4 {
		t.Errorf("WireGuard takes the first octet %d for a message of its own", kind)
	}
}

func TestReplays(t *testing.T) {
	a, b := two(t)
	ask(t, a, b, Note{})
	ping, _ := a.Ping(Note{Nominate: true})
	h, err := b.Open(ping)
	if err != nil || !h.Fresh {
		t.Fatal(h, err)
	}
	pong := b.Pong(h, somewhere, Note{})
	if _, err := a.Open(pong); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		at   *Line
		b    []byte
		want error
	}{
		{"a ping twice", b, ping, ErrReplay},
		{"a pong twice", a, pong, ErrReplay},
		{"a ping to its sender", a, ping, ErrForged},
		{"a pong to its sender", b, pong, ErrForged},
		{"one octet more", b, append(bytes.Clone(ping), 0), ErrNotOurs},
		{"one octet less", b, ping[:Size-1], ErrNotOurs},
		{"nothing", b, nil, ErrNotOurs},
	} {
		if _, err := c.at.Open(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

// What was recorded in an earlier life of either end counts in no later one.
func TestLives(t *testing.T) {
	x, y := pair(t)
	a, b := NewLine(x), NewLine(y)
	ask(t, a, b, Note{})
	old, _ := a.Ping(Note{Nominate: true})
	h, err := b.Open(old)
	if err != nil || !h.Fresh {
		t.Fatal(h, err)
	}
	oldPong := b.Pong(h, somewhere, Note{})

	a2 := NewLine(x) // the pinging end is started anew
	ask(t, a2, b, Note{})
	if _, err := b.Open(old); !errors.Is(err, ErrReplay) {
		t.Errorf("a ping of the session that still counts: %v", err)
	}
	if fresh, _ := ask(t, a2, b, Note{}); !fresh {
		t.Error("the new session does not count")
	}
	if h, err := b.Open(old); err == nil && h.Fresh {
		t.Error("a ping of an earlier session counted")
	}
	if _, err := a2.Open(oldPong); !errors.Is(err, ErrReplay) {
		t.Errorf("a pong to an earlier session: %v", err)
	}
	if fresh, _ := ask(t, a2, b, Note{}); !fresh {
		t.Error("what was replayed undid the session")
	}

	b2 := NewLine(y) // the answering end is started anew
	if h, err := b2.Open(old); err != nil || h.Fresh {
		t.Errorf("a ping to an earlier life: %+v, %v", h, err)
	}
	if fresh, _ := ask(t, a2, b2, Note{}); fresh {
		t.Error("a ping with the token of an earlier life counted")
	}
	if fresh, _ := ask(t, a2, b2, Note{}); !fresh {
		t.Error("it does not come back")
	}
}

// A token that an older pong told does not come back.
func TestPongsOutOfOrder(t *testing.T) {
	a, b := two(t)
	ping, _ := a.Ping(Note{})
	h, err := b.Open(ping)
	if err != nil {
		t.Fatal(err)
	}
	pong := b.Pong(h, somewhere, Note{})
	for range 3 {
		ask(t, a, b, Note{})
	}
	if _, err := a.Open(pong); err != nil {
		t.Fatal(err)
	}
	if fresh, _ := ask(t, a, b, Note{}); !fresh {
		t.Error("a late pong undid the token")
	}
}

func TestForgeries(t *testing.T) {
	a, b := two(t)
	ping, _ := a.Ping(Note{})
	rapid.Check(t, func(t *rapid.T) {
		bad := bytes.Clone(ping)
		at := rapid.IntRange(0, Size-1).Draw(t, "at")
		bad[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if _, err := b.Open(bad); err == nil {
			t.Errorf("octet %d changed, and taken", at)
		}
	})
	c, _ := two(t)
	if other, _ := c.Ping(Note{}); other != nil {
		if _, err := b.Open(other); !errors.Is(err, ErrForged) {
			t.Errorf("a packet of another pair: %v", err)
		}
	}
}

func TestLowOrderKeys(t *testing.T) {
	for _, public := range []Key{{}, {1}} {
		if _, err := Shared(Key{7}, public); err == nil {
			t.Errorf("%x taken", public)
		}
	}
}

// Each number counts once, in whatever order they come, and none that is older than
// the last 63.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		taken := map[uint64]bool{}
		var last uint64
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			n := rapid.Uint64Range(0, 300).Draw(t, "number")
			want := n > 0 && !taken[n] && (n > last || last-n < 64)
			if got := w.take(n); got != want {
				t.Fatalf("%d after %d: %v, want %v", n, last, got, want)
			}
			taken[n], last = taken[n] || want, max(last, n)
		}
	})
}

func FuzzOpen(f *testing.F) {
	a, b := two(f)
	ping, _ := a.Ping(Note{})
	f.Add(ping)
	f.Add([]byte{})
	f.Add(append([]byte{0xf7, 0x77, 0x64, 0x01}, make([]byte, Size-4)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := b.Open(in); err == nil && !bytes.Equal(in, ping) {
			t.Errorf("%x opened", in)
		}
	})
}

// What is inside is read as it was written, and other bytes never panic.
func FuzzSealed(f *testing.F) {
	x, y := pair(f)
	f.Add([]byte{1, 1, 2, 0}, uint64(3))
	f.Fuzz(func(t *testing.T, in []byte, number uint64) {
		m := make([]byte, body)
		copy(m, in)
		b := make([]byte, head, Size)
		copy(b, []byte{0xf7, 0x77, 0x64, 0x01})
		for i := range 8 {
			b[4+i] = byte(x.outID >> (56 - 8*i))
		}
		p, err := y.open(x.out.Seal(b, nil, m, b))
		if err != nil {
			return
		}
		if again, err := y.open(x.seal(p)); err != nil || again != p {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

func BenchmarkOpenForged(b *testing.B) {
	x, y := two(b)
	ping, _ := x.Ping(Note{})
	ping[Size-1] ^= 1
	for b.Loop() {
		_, _ = y.Open(ping)
	}
}
