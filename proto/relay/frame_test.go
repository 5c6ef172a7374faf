package relay

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// show is a frame in a line.
func show(f Frame, err error) string {
	if err != nil {
		return strings.TrimPrefix(err.Error(), "relay: ")
	}
	kind := map[Kind]string{Packets: "packets", Probe: "probe", Absent: "absent"}[f.Kind]
	if kind == "" {
		return fmt.Sprintf("unknown %d", f.Kind)
	}
	return fmt.Sprintf("%s slot %d %q %d of %d, %d bytes", kind, f.Slot, f.Name, f.Count(), f.Size, len(f.Payload))
}

func TestParse(t *testing.T) {
	body := func(n int) []byte { return bytes.Repeat([]byte{7}, n) }
	frame := func(kind Kind, slot uint8, size int, name string, n int) []byte {
		return append(AppendHead(nil, kind, slot, size, name), body(n)...)
	}
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"one packet", frame(Packets, 0, 148, "n2", 148), `packets slot 0 "n2" 1 of 148, 148 bytes`},
		{"three, the last shorter", frame(Packets, 1, 1452, "n2", 2905), `packets slot 1 "n2" 3 of 1452, 2905 bytes`},
		{"as many as go", frame(Packets, 0, 32, "n2", 64*32), `packets slot 0 "n2" 64 of 32, 2048 bytes`},
		{"a probe", frame(Probe, 1, 0, "n2", 60), `probe slot 1 "n2" 0 of 0, 60 bytes`},
		{"nobody there", frame(Absent, 0, 0, "n2", 0), `absent slot 0 "n2" 0 of 0, 0 bytes`},
		{"of a later release", []byte{9, 200, 1, 1, 0}, `unknown 9`},
		{"bad: empty", nil, "a frame is shorter than what it says"},
		{"bad: a name cut off", frame(Packets, 0, 32, "n2", 32)[:6], "a frame is shorter than what it says"},
		{"bad: no name", frame(Packets, 0, 32, "", 32), "a frame names a node by 0 or more than 253 bytes"},
		{"bad: a name too long", frame(Packets, 0, 32, strings.Repeat("n", 254), 32), "a frame names a node by 0 or more than 253 bytes"},
		{"bad: slot", frame(Packets, 2, 32, "n2", 32), "a frame names a slot other than 0 and 1"},
		{"bad: no packet", frame(Packets, 0, 32, "n2", 0), "a frame has no packets, or more than 64"},
		{"bad: packets of nothing", frame(Packets, 0, 0, "n2", 32), "a frame has no packets, or more than 64"},
		{"bad: a size beyond the end", frame(Packets, 0, 33, "n2", 32), "a frame has no packets, or more than 64"},
		{"bad: too many", frame(Packets, 0, 32, "n2", 64*32+1), "a frame has no packets, or more than 64"},
		{"bad: a probe of nothing", frame(Probe, 0, 0, "n2", 0), "a probe has 0 or more than 1500 bytes"},
		{"bad: a probe too long", frame(Probe, 0, 0, "n2", 1501), "a probe has 0 or more than 1500 bytes"},
		{"bad: absent with something", frame(Absent, 0, 0, "n2", 1), "a frame that says that a node is absent carries something"},
		{"bad: longer than any", frame(Packets, 0, 16000, "n2", MaxFrame), "a frame has more than 16384 bytes"},
	} {
		if got := show(Parse(c.in)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestWhatIsAppendedIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]{1,253}`).Draw(t, "name")
		slot := rapid.Uint8Range(0, 1).Draw(t, "slot")
		size := rapid.IntRange(1, 2000).Draw(t, "size")
		n := rapid.IntRange(size, min(size*MaxPackets, MaxPayload)).Draw(t, "bytes")
		payload := bytes.Repeat([]byte{1}, n)
		f, err := Parse(append(AppendHead(nil, Packets, slot, size, name), payload...))
		if err != nil || f.Kind != Packets || f.Slot != slot || f.Size != size || string(f.Name) != name || !bytes.Equal(f.Payload, payload) {
			t.Fatalf("%s", show(f, err))
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(append(AppendHead(nil, Packets, 1, 2, "n2"), 1, 2, 3))
	f.Add(AppendHead(nil, Absent, 0, 0, "n2"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Parse(b)
		if err != nil || got.Kind < Packets || got.Kind > Absent {
			return
		}
		if again := append(AppendHead(nil, got.Kind, got.Slot, got.Size, got.Name), got.Payload...); !bytes.Equal(again, b) {
			t.Fatalf("%x was read as %s, which is %x", b, show(got, nil), again)
		}
		if n := got.Count(); n > MaxPackets || got.Kind == Packets && (n < 1 || (n-1)*got.Size >= len(got.Payload)) {
			t.Fatalf("%x has %d packets", b, n)
		}
	})
}

func TestParseAllocatesNothing(t *testing.T) {
	b := append(AppendHead(nil, Packets, 0, 100, "n2"), make([]byte, 1000)...)
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
