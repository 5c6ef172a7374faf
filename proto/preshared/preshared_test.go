package preshared

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weft-net/weft/proto/intent"
)

var (
	lower  = End{"n1", intent.Key{1}}
	higher = End{"n2", intent.Key{2}}
)

// TestAgree: both ends have one key, and another in each exchange.
func TestAgree(t *testing.T) {
	pair := Pair(lower, higher, 1)
	seen := map[[32]byte]bool{{}: true}
	for range 3 {
		e, err := NewExchange()
		if err != nil {
			t.Fatal(err)
		}
		theirs, ciphertext, err := Respond(pair, e.Offered())
		if err != nil {
			t.Fatal(err)
		}
		ours, err := e.Finish(pair, ciphertext)
		if err != nil || ours != theirs || seen[ours] {
			t.Errorf("equal %v, seen %v: %v", ours == theirs, seen[ours], err)
		}
		seen[ours] = true
		if other, err := e.Finish(Pair(lower, higher, 0), ciphertext); err != nil || other == ours {
			t.Errorf("the key is another slot's too: %v", err)
		}
		ciphertext[5] ^= 1 // an ML-KEM that was told another ciphertext has another key
		if other, err := e.Finish(pair, ciphertext); err != nil || other == ours {
			t.Errorf("the key of another ciphertext: %v", err)
		}
	}
}

func TestPair(t *testing.T) {
	seen := map[[32]byte]string{}
	for name, p := range map[string][32]byte{
		"a pair":           Pair(lower, higher, 0),
		"its other slot":   Pair(lower, higher, 1),
		"turned round":     Pair(higher, lower, 0),
		"another node":     Pair(lower, End{"n3", higher.Key}, 0),
		"another key":      Pair(lower, End{"n2", intent.Key{3}}, 0),
		"its own other":    Pair(End{"n1", intent.Key{4}}, higher, 0),
		"names cut anew":   Pair(End{"n", lower.Key}, End{"1n2", higher.Key}, 0),
		"names cut before": Pair(End{"n1n", lower.Key}, End{"2", higher.Key}, 0),
	} {
		if was, ok := seen[p]; ok {
			t.Errorf("%s is %s", name, was)
		}
		seen[p] = name
	}
}

func TestRefusedKeys(t *testing.T) {
	if _, _, err := Respond([32]byte{}, make([]byte, 7)); err == nil {
		t.Error("an encapsulation key of 7 bytes")
	}
	if _, _, err := Respond([32]byte{}, bytes.Repeat([]byte{0xff}, 1184)); err == nil {
		t.Error("an encapsulation key whose numbers are out of range (FIPS 203, section 7.2)")
	}
	e, err := NewExchange()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Finish([32]byte{}, make([]byte, 7)); err == nil {
		t.Error("a ciphertext of 7 bytes")
	}
}

// message draws one as Decode gives it.
func message(t *rapid.T) Message {
	m := Message{
		Kind: Kind(rapid.IntRange(int(Offer), int(Unknown)).Draw(t, "kind")), Slot: rapid.Uint8Range(0, 1).Draw(t, "slot"),
		Pair: [32]byte{7}, ID: [32]byte{8},
	}
	m.Body = bytes.Repeat([]byte{9}, m.Kind.size())
	if m.Kind.size() > 0 {
		m.Half = rapid.Uint8Range(0, Halves-1).Draw(t, "half")
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := message(t)
		b := m.Encode([32]byte{1})
		if len(b) > MaxSize {
			t.Errorf("%d bytes; MaxSize %d", len(b), MaxSize)
		}
		got, err := Decode(b, [32]byte{1})
		if d := cmp.Diff(m, got); err != nil || d != "" {
			t.Errorf("%v %s", err, d)
		}
		if _, err := Decode(b, [32]byte{2}); !errors.Is(err, ErrForged) {
			t.Errorf("with another key: %v", err)
		}
		bad := bytes.Clone(b)
		bad[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if _, err := Decode(bad, [32]byte{1}); err == nil {
			t.Error("changed, and taken")
		}
		for _, cut := range [][]byte{b[:len(b)-1], append(bytes.Clone(b), 0), b[1:], nil} {
			if _, err := Decode(cut, [32]byte{1}); err == nil {
				t.Errorf("%d bytes of %d taken", len(cut), len(b))
			}
		}
	})
}

func TestHalves(t *testing.T) {
	e, err := NewExchange()
	if err != nil {
		t.Fatal(err)
	}
	all := Message{Kind: Offer, ID: e.ID()}.Split(e.Offered())
	var w Whole
	for _, i := range []int{0, 0, 1} {
		got, ok := w.Add(all[i])
		if ok != (i == 1) || ok && !bytes.Equal(got, e.Offered()) {
			t.Errorf("half %d: %v", i, ok)
		}
	}
	other := Message{Kind: Offer, ID: [32]byte{1}}.Split(make([]byte, len(e.Offered())))
	if _, ok := w.Add(other[1]); ok {
		t.Error("two exchanges are one whole")
	}
}

func FuzzDecode(f *testing.F) {
	key := [32]byte{3}
	for _, m := range (Message{Kind: Answer, Slot: 1}).Split(make([]byte, 1088)) {
		f.Add(m.Encode(key))
	}
	f.Add(Message{Kind: Have}.Encode(key))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		// Who cannot make a MAC gets no further; so it is made for him, to reach the rest.
		for _, b := range [][]byte{in, append(bytes.Clone(in), sum(key, in)...)} {
			m, err := Decode(b, key)
			if err == nil && !bytes.Equal(m.Encode(key), b) {
				t.Errorf("%x is read as %+v", b, m)
			}
		}
	})
}
