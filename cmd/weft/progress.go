package main

import (
	"fmt"
	"strconv"
)

// tell replaces the line that says what is waited for; an empty one takes it
// away. Without a terminal it says nothing.
func (c *cli) tell(format string, args ...any) {
	if !c.progress {
		return
	}
	// CR to the line's start, EL to clear it (ECMA-48, section 8.3.41).
	fmt.Fprintf(c.err, "\r\x1b[K"+format, args...)
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// count is a number with its noun: 1 node, 2 nodes.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
