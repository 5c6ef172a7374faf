package turn

import (
	"testing"
	"time"
)

// A thousand agents that come at once are all in within 30 s, and never more at a
// time than the limiter lets.
func TestLine(t *testing.T) {
	var a Line
	start := time.Now()
	due := map[time.Duration]int{0: 1000} // how many come, by when
	in, last, busiest := 0, time.Duration(0), 0
	for at := time.Duration(0); in < 1000 && at < time.Minute; at += time.Second {
		now := 0
		for range due[at] {
			again, ok := a.Come(start.Add(at))
			if ok {
				now++
				continue
			}
			if again < time.Second || again > longestWait || again%time.Second != 0 {
				t.Fatalf("come again in %v", again)
			}
			due[at+again]++
		}
		in, busiest = in+now, max(busiest, now)
		if now > 0 {
			last = at
		}
	}
	if in != 1000 || last >= 30*time.Second || busiest > burst+rate {
		t.Errorf("%d are in, the last after %v, at most %d at a time", in, last, busiest)
	}
}
