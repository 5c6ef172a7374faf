package table

import (
	"fmt"
	"time"
)

// Age is a duration in at most two units, as kubectl writes it: 45s, 2m10s,
// 15m, 3h12m, 26h, 9d, 2y31d. Below zero, by clocks that differ, it is 0s.
func Age(d time.Duration) string {
	seconds := max(int64(d/time.Second), 0)
	minutes, hours, days := seconds/60, seconds/3600, seconds/86400
	switch {
	case seconds < 120:
		return fmt.Sprintf("%ds", seconds)
	case minutes < 10:
		return pair(minutes, "m", seconds%60, "s")
	case hours < 3:
		return fmt.Sprintf("%dm", minutes)
	case hours < 8:
		return pair(hours, "h", minutes%60, "m")
	case hours < 48:
		return fmt.Sprintf("%dh", hours)
	case days < 8:
		return pair(days, "d", hours%24, "h")
	case days < 730:
		return fmt.Sprintf("%dd", days)
	case days < 8*365:
		return pair(days/365, "y", days%365, "d")
	}
	return fmt.Sprintf("%dy", days/365)
}

// Coarse is a duration in one unit, for a sentence: 45 s, 6 h, 12 d.
func Coarse(d time.Duration) string {
	seconds := max(int64(d/time.Second), 0)
	switch {
	case seconds < 120:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 120*60:
		return fmt.Sprintf("%d min", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%d h", seconds/3600)
	}
	return fmt.Sprintf("%d d", seconds/86400)
}

func pair(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d%s", a, unitA)
	}
	return fmt.Sprintf("%d%s%d%s", a, unitA, b, unitB)
}

// Since is the age of a moment in Unix seconds; a dash for 0, which is unknown.
func Since(unix int64, now time.Time) string {
	if unix == 0 {
		return "-"
	}
	return Age(now.Sub(time.Unix(unix, 0)))
}
