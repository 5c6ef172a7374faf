package main

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// spread is a median, with the least and the most.
func spread(values []float64, digits int, unit string) string {
	if len(values) == 0 {
		return "nothing measured"
	}
	v := slices.Sorted(slices.Values(values))
	return fmt.Sprintf("%.*f%s (%.*f–%.*f)", digits, median(v), unit, digits, v[0], digits, v[len(v)-1])
}

// median of an even count is the mean of the two in the middle.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// ms is a time in milliseconds.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// stderr is what a command that failed had to say.
func stderr(err error) string {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}
