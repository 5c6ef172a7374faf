package mesh

import (
	"fmt"
	"strings"
	"time"
)

// Text is the page that operators read.
func (e Explanation) Text(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s -> %s  %s", e.Node, e.Peer, e.title())
	if e.Rung != None {
		fmt.Fprintf(&b, ", since %s (%s)   rtt %s  loss %.1f %%  mtu %d", e.Since.Format(time.TimeOnly), span(now.Sub(e.Since)), millis(e.RTT), 100*e.Loss, e.MTU)
		if e.Probed {
			b.WriteString(" (probed)")
		}
	}
	b.WriteString("\n")
	rows := append([]Verdict{{"RUNG", "RESULT", "WHY"}}, e.Rungs...)
	var wide [2]int
	for _, v := range rows {
		wide[0], wide[1] = max(wide[0], len(v.Rung)), max(wide[1], len(v.Result))
	}
	for _, v := range rows {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %-*s  %s", wide[0], v.Rung, wide[1], v.Result, v.Why), " ") + "\n")
	}
	if e.Preshared != "" {
		b.WriteString("pre-shared key: " + e.Preshared + "\n")
	}
	if e.Climb != "" {
		b.WriteString("to climb: " + e.Climb + "\n")
	}
	return b.String()
}

// title is the rung in capitals, and over what.
func (e Explanation) title() string {
	out := strings.ToUpper(e.Rung.String())
	if e.Rung == ByServer || e.Rung == ByNode {
		out = "WIREGUARD RELAYED over " + e.Via.Server + e.Via.Node
	}
	if e.Down {
		out += " (does not answer)"
	}
	return out
}

func millis(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// span is how long, in the unit that counts.
func span(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
	case d >= time.Hour:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	case d >= time.Minute:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	}
	return fmt.Sprintf("%ds", int(d/time.Second))
}
