package relay

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What passes in any time is at most the rate and a burst, and who asks for less than
// the rate gets all of it.
func TestBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Int64Range(1, 10<<30).Draw(t, "rate")
		b := NewBucket(rate, 0)
		now, passed := time.Duration(0), int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, int64(20*time.Millisecond)).Draw(t, "pause"))
			n := rapid.IntRange(1, MaxFrame).Draw(t, "bytes")
			if b.Take(n, now) {
				passed += int64(n)
			}
			if most := float64(b.burst) + float64(rate)*now.Seconds() + 1; float64(passed) > most {
				t.Fatalf("%d bytes in %v, more than %.0f", passed, now, most)
			}
		}
		if !b.Take(int(min(b.burst, MaxFrame)), now+time.Duration(b.burst/rate+1)*time.Second) {
			t.Fatal("a bucket that nobody used is not full")
		}
	})
}

func TestBucketGivesTheRate(t *testing.T) {
	const rate = 100 << 20
	b := NewBucket(rate, 0)
	passed := 0
	for now := time.Duration(0); now < 10*time.Second; now += 97 * time.Microsecond {
		if b.Take(12_345, now) {
			passed += 12_345
		}
	}
	if got := float64(passed) / 10 / rate; got < 0.99 || got > 1.02 {
		t.Errorf("%.3f of the rate", got)
	}
}

func TestNoRateIsNoLimit(t *testing.T) {
	b := NewBucket(0, 0)
	if !b.Take(1<<30, 0) {
		t.Error("refused")
	}
}
