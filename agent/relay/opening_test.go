package relay

import (
	"bytes"
	"testing"
	"time"
)

// TestBeats: of two packets that ask for one session, sent at the same moment, both ends
// hear the same one.
func TestBeats(t *testing.T) {
	asks := func(ephemeral string) []byte {
		b := make([]byte, openingSize)
		b[0] = openingType
		copy(b[ephemeralFrom:], bytes.Repeat([]byte(ephemeral), ephemeralTo-ephemeralFrom))
		return b
	}
	ours := func(ephemeral string, at time.Duration) *opening {
		o := &opening{at: at}
		copy(o.packet[:], asks(ephemeral))
		return o
	}
	for _, tt := range []struct {
		name   string
		ours   *opening
		packet []byte
		now    time.Duration
		want   bool
	}{
		{"ours is smaller", ours("a", 0), asks("b"), 0, true},
		{"the peer's is smaller", ours("b", 0), asks("a"), 0, false},
		{"the same, as if it came back", ours("a", 0), asks("a"), 0, false},
		{"we did not ask", nil, asks("b"), 0, false},
		{"an answer", ours("a", 0), append([]byte{2}, make([]byte, 91)...), 0, false},
		{"data of that size", ours("a", 0), append([]byte{4}, asks("b")[1:]...), 0, false},
		{"an empty packet", ours("a", 0), nil, 0, false},
		{"nobody has answered for some time", ours("a", time.Minute), asks("b"), time.Minute + crossing - 1, true},
		{"nobody has answered for too long", ours("a", time.Minute), asks("b"), time.Minute + crossing, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.ours.beats(tt.packet, tt.now); got != tt.want {
				t.Errorf("%v", got)
			}
		})
	}
}
