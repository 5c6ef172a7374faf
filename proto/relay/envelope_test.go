package relay

import (
	"bytes"
	"testing"
)

func sealed(k *Key, way Way, slot uint8, frame []byte) []byte {
	return k.Seal(append(Begin([]byte("before"), way, slot), frame...), len("before"))[len("before"):]
}

func TestEnvelope(t *testing.T) {
	shared := [32]byte{1, 2, 3}
	ab := NewKey(shared, "a", "b")
	frame := append(AppendHead(nil, Packets, 0, 3, "c"), 1, 2, 3)
	b := sealed(ab, ToRelay, 1, frame)
	if len(b) != len(frame)+Overhead {
		t.Errorf("%d bytes around %d, not %d", len(b), len(frame), Overhead)
	}
	if way, slot, err := Peek(b); way != ToRelay || slot != 1 || err != nil {
		t.Errorf("Peek: %d, %d, %v", way, slot, err)
	}
	if got, err := NewKey(shared, "a", "b").Open(b); err != nil || !bytes.Equal(got, frame) {
		t.Errorf("Open: %x, %v", got, err)
	}
	for _, c := range []struct {
		name string
		key  *Key
		in   []byte
		want error
	}{
		{"the other direction", NewKey(shared, "b", "a"), b, errTag},
		{"other secret", NewKey([32]byte{}, "a", "b"), b, errTag},
		{"other names of the same letters", NewKey(shared, "a\x00b", ""), b, errTag},
		{"turned round", ab, edit(b, 2, byte(FromRelay)), errTag},
		{"other slot", ab, edit(b, 3, 0), errTag},
		{"a bit of the frame", ab, edit(b, 9, 0xff), errTag},
		{"no such way", ab, edit(b, 2, 3), errEnvelope},
		{"later version", ab, edit(b, 1, 2), errEnvelope},
		{"cut short", ab, b[:Overhead-1], errEnvelope},
		{"cut off", ab, b[:len(b)-1], errTag},
		{"nothing", ab, nil, errEnvelope},
	} {
		if got, err := c.key.Open(c.in); err != c.want || got != nil {
			t.Errorf("%s: %x, %v; want %v", c.name, got, err, c.want)
		}
	}
}

func edit(b []byte, at int, to byte) []byte {
	b = bytes.Clone(b)
	b[at] = to
	return b
}

func FuzzOpen(f *testing.F) {
	k := NewKey([32]byte{9}, "a", "b")
	good := sealed(k, FromRelay, 0, AppendHead(nil, Absent, 0, 0, "c"))
	f.Add(good)
	f.Add(good[:10])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := k.Open(b)
		if err == nil && !bytes.Equal(sealed(k, Way(b[2]), b[3], got), b) {
			t.Fatalf("%x was opened as %x", b, got)
		}
	})
}

func TestSealAllocatesNothing(t *testing.T) {
	k := NewKey([32]byte{9}, "a", "b")
	buf, frame := make([]byte, 0, 2000), make([]byte, 1400)
	if n := testing.AllocsPerRun(100, func() {
		b := k.Seal(append(Begin(buf, ToRelay, 0), frame...), 0)
		if _, err := k.Open(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
