package mesh

import (
	"testing"
	"time"
)

// TestQuicker: of two ways alike only a clearly quicker one is worth a move: by 20 %, and
// by more than the noise of a LAN.
func TestQuicker(t *testing.T) {
	for _, c := range []struct {
		a, b time.Duration
		want bool
	}{
		{79 * time.Millisecond, 100 * time.Millisecond, true},
		{80 * time.Millisecond, 100 * time.Millisecond, false},
		{120 * time.Millisecond, 100 * time.Millisecond, false},
		{time.Millisecond, 3 * time.Millisecond, false},
		{time.Millisecond, 3*time.Millisecond + 1, true},
		{0, 100 * time.Millisecond, false}, // not measured
		{100 * time.Millisecond, 0, false},
	} {
		if got := quicker(c.a, c.b); got != c.want {
			t.Errorf("%v is quicker than %v: %v", c.a, c.b, got)
		}
	}
}
