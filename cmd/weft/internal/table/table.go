package table

import (
	"strings"
	"unicode/utf8"
)

const gap = "  "

// Table is titles and rows. A cell may have several lines.
type Table struct {
	Titles []string
	Rows   [][]string
	// Paint colours a cell, outside of its width; nil leaves it as it is.
	Paint func(title, cell string) string
}

// Add appends a row. An empty cell is shown as a dash.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Widths are the columns' widths in runes, without the titles if bare.
func (t *Table) Widths(bare bool) []int {
	w := make([]int, len(t.Titles))
	for i, title := range t.Titles {
		if !bare {
			w[i] = utf8.RuneCountInString(title)
		}
	}
	for _, row := range t.Rows {
		for i, cell := range row {
			for line := range strings.Lines(cell) {
				w[i] = max(w[i], utf8.RuneCountInString(strings.TrimSuffix(line, "\n")))
			}
		}
	}
	return w
}

// Text prints titles, unless bare, and rows.
func (t *Table) Text(bare bool) string { return t.TextAs(t.Widths(bare), bare) }

// TextAs prints with widths given, so that rows which come later line up.
func (t *Table) TextAs(widths []int, bare bool) string {
	var b strings.Builder
	if !bare {
		t.line(&b, widths, t.Titles, nil)
	}
	for _, row := range t.Rows {
		t.row(&b, widths, row)
	}
	return b.String()
}

func (t *Table) row(b *strings.Builder, widths []int, row []string) {
	height := 1
	cells := make([][]string, len(row))
	for i, cell := range row {
		if cell == "" {
			cell = "-"
		}
		cells[i] = strings.Split(cell, "\n")
		height = max(height, len(cells[i]))
	}
	for h := range height {
		line := make([]string, len(row))
		for i := range row {
			if h < len(cells[i]) {
				line[i] = cells[i][h]
			}
		}
		t.line(b, widths, line, t.Paint)
	}
}

func (t *Table) line(b *strings.Builder, widths []int, cells []string, paint func(title, cell string) string) {
	var blank int // spaces owed: none at a line's end
	for i, cell := range cells {
		if cell != "" {
			b.WriteString(strings.Repeat(" ", blank))
			blank = 0
			if paint != nil {
				b.WriteString(paint(t.Titles[i], cell))
			} else {
				b.WriteString(cell)
			}
		}
		blank += max(widths[i]-utf8.RuneCountInString(cell), 0) + len(gap)
	}
	b.WriteByte('\n')
}

// Wrap breaks text between words so that no line is longer than width, unless
// one word is. Lines that were there stay.
func Wrap(s string, width int) string {
	if width <= 0 {
		return s
	}
	var out []string
	for _, line := range strings.Split(s, "\n") {
		cur := ""
		for _, word := range strings.Fields(line) {
			if cur != "" && utf8.RuneCountInString(cur)+1+utf8.RuneCountInString(word) > width {
				out = append(out, cur)
				cur = ""
			}
			cur = strings.TrimPrefix(cur+" "+word, " ")
		}
		out = append(out, cur)
	}
	return strings.Join(out, "\n")
}
