package main

import "strings"

// colour is an SGR parameter (ECMA-48, section 8.3.117).
type colour string

const (
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	bold   colour = "1"
)

func (c *cli) paint(as colour, s string) string {
	if !c.colours || as == "" || s == "" {
		return s
	}
	return "\x1b[" + string(as) + "m" + s + "\x1b[0m"
}

// paintCell colours what tells at a glance whether something is well.
func (c *cli) paintCell(title, cell string) string {
	if title == "RESULT" && cell == inUse {
		return c.paint(green, cell)
	}
	if title != "STATUS" && title != "STATE" {
		return cell
	}
	switch cell {
	case "Ready":
		return c.paint(green, cell)
	case "Degraded":
		return c.paint(yellow, cell)
	case "Away":
		return c.paint(red, cell)
	}
	return cell
}

// paintSteps colours lines by their first sign: + - ~.
func (c *cli) paintSteps(text string) string {
	if !c.colours {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		bare := strings.TrimSuffix(line, "\n")
		var as colour
		switch sign := strings.TrimLeft(bare, " "); {
		case strings.HasPrefix(sign, "+"):
			as = green
		case strings.HasPrefix(sign, "-"):
			as = red
		case strings.HasPrefix(sign, "~"):
			as = yellow
		}
		b.WriteString(c.paint(as, bare) + line[len(bare):])
	}
	return b.String()
}
