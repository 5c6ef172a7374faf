package relay

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRuns(t *testing.T) {
	type read struct{ n, size int }
	for _, c := range []struct {
		name  string
		reads []read
		want  string // packets x size, a run each
	}{
		{"one packet", []read{{100, 100}}, "1x100"},
		{"joined by the kernel", []read{{1000, 100}}, "4x100 4x100 2x100"},
		{"the last shorter", []read{{350, 100}}, "4x100"},
		{"one by one", []read{{100, 100}, {100, 100}, {100, 100}}, "3x100"},
		{"a short one ends a run", []read{{100, 100}, {60, 60}, {100, 100}}, "2x100 1x100"},
		{"a longer one begins one", []read{{60, 60}, {100, 100}, {100, 100}}, "1x60 2x100"},
		{"after a short end", []read{{250, 100}, {100, 100}}, "3x100 1x100"},
		{"an empty one is nothing", []read{{0, 0}, {5, 5}}, "1x5"},
	} {
		b := newBurst()
		for _, r := range c.reads {
			b.add(r.n, r.size)
		}
		var got []string
		b.runs(450, 64, func(size int, payload []byte) {
			got = append(got, fmt.Sprintf("%dx%d", (len(payload)+size-1)/size, size))
		})
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
		b.free()
	}
}

// TestRunsLoseNothing: however packets are joined, they come out as they went in.
func TestRunsLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent, got [][]byte
		b := newBurst()
		defer b.free()
		for i := range rapid.IntRange(0, 40).Draw(t, "reads") {
			size, n := rapid.IntRange(1, 200).Draw(t, "size"), rapid.IntRange(1, 20).Draw(t, "packets")
			total := size*(n-1) + rapid.IntRange(1, size).Draw(t, "last")
			if total < size {
				size = total
			}
			for k := range total {
				b.buf[b.end+k] = byte(i*31 + k)
			}
			from := b.end
			b.add(total, size)
			for p := range slices.Chunk(b.buf[from:from+total], size) {
				sent = append(sent, p)
			}
		}
		most := rapid.IntRange(200, 5000).Draw(t, "most")
		b.runs(most, 64, func(size int, payload []byte) {
			if len(payload) > most {
				t.Fatalf("%d bytes", len(payload))
			}
			for p := range slices.Chunk(payload, size) {
				got = append(got, p)
			}
		})
		if !slices.EqualFunc(sent, got, bytes.Equal) || b.count() != len(sent) {
			t.Fatalf("%d packets of %d, counted %d", len(got), len(sent), b.count())
		}
	})
}

// pair is a sock and a device that is connected to it.
func pair(t testing.TB) (*sock, *net.UDPConn) {
	s, err := openSock(0)
	if err != nil {
		t.Fatal(err)
	}
	device, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.local))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close(); device.Close() })
	if err := s.connect(device.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	return s, device
}

func TestSockCutsAndJoins(t *testing.T) {
	s, device := pair(t)
	if lost := s.send([]byte("aaaabbbbcc"), 4); lost != 0 {
		t.Fatalf("%d lost", lost)
	}
	s.out.whole = false // as on a kernel that does not cut
	if lost := s.send([]byte("ddddee"), 4); lost != 0 {
		t.Fatalf("%d lost", lost)
	}
	b := make([]byte, 100)
	for _, want := range []string{"aaaa", "bbbb", "cc", "dddd", "ee"} {
		if n, err := device.Read(b); err != nil || string(b[:n]) != want {
			t.Errorf("%q, %v; want %q", b[:n], err, want)
		}
	}
	from, err := openSock(0)
	if err != nil {
		t.Fatal(err)
	}
	defer from.conn.Close()
	// Two sockets of this kind: what one has the kernel cut, the other gets in one read.
	if err := from.connect(s.local); err != nil {
		t.Fatal(err)
	}
	if err := s.connect(from.local); err != nil {
		t.Fatal(err)
	}
	from.send([]byte("ffffgggghh"), 4)
	got, err := s.receive()
	if err != nil {
		t.Fatal(err)
	}
	defer got.free()
	if b := string(got.buf[:got.end]); b != "ffffgggghh" || got.count() != 3 {
		t.Errorf("%q, %d packets", b, got.count())
	}
}

// TestNobodyListens: an error of what was sent before is no error of what is sent now.
func TestNobodyListens(t *testing.T) {
	s, _ := pair(t)
	device, err := openSock(0) // hears nobody yet
	if err != nil {
		t.Fatal(err)
	}
	defer device.conn.Close()
	if err := s.connect(device.local); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.send([]byte("nobody"), 6)
	}
	if err := device.connect(s.local); err != nil {
		t.Fatal(err)
	}
	if lost := s.send([]byte("somebody"), 8); lost != 0 {
		t.Errorf("%d lost", lost)
	}
	b := make([]byte, 100)
	if n, err := device.conn.Read(b); err != nil || string(b[:n]) != "somebody" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

func TestSockAllocatesNothing(t *testing.T) {
	s, device := pair(t)
	packet, in := make([]byte, 1400), make([]byte, 2000)
	if n := testing.AllocsPerRun(200, func() {
		_, _ = device.Write(packet)
		b, err := s.receive()
		if err != nil {
			t.Fatal(err)
		}
		b.free()
		s.send(packet, len(packet))
		_, _ = device.Read(in)
	}); n >= 1 { // the pool may be emptied meanwhile
		t.Errorf("%v allocations", n)
	}
}
