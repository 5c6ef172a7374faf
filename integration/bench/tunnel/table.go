package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// figure is one measured number, or a note in its place.
type figure struct {
	row, contender string
	round          int
	what, unit     string
	value          float64
	note           string
	share          bool // is printed as a share of tls too
}

// book keeps the figures of a run.
type book struct {
	options
	mu      sync.Mutex
	figures []figure
}

func newBook(o options) *book { return &book{options: o} }

func (b *book) add(f figure) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.figures = append(b.figures, f)
	if b.verbose {
		fmt.Printf("%d %-12s %-50s %10.4g %s %s\n", f.round, f.contender, f.what, f.value, f.unit, f.note)
	}
	if b.csv == "" {
		return nil
	}
	file, err := os.OpenFile(b.csv, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	w := csv.NewWriter(file)
	err = w.Write([]string{strconv.Itoa(f.round), f.row, f.contender, f.what, f.unit, strconv.FormatFloat(f.value, 'g', 5, 64), f.note})
	w.Flush()
	return errors.Join(err, w.Error(), file.Close())
}

// print writes a table in Markdown: a line a figure, a column a contender, the
// median and, of several rounds, the least and the most.
func (b *book) print() {
	var whats, who []string
	for _, f := range b.figures {
		if !slices.Contains(whats, f.what) {
			whats = append(whats, f.what)
		}
	}
	for _, c := range contenders {
		if slices.ContainsFunc(b.figures, func(f figure) bool { return f.contender == c.name }) {
			who = append(who, c.name)
		}
	}
	fmt.Printf("| | %s |\n|---|%s\n", strings.Join(who, " | "), strings.Repeat("---|", len(who)))
	for _, what := range whats {
		b.line(what, who, false)
		if b.of(what, "tls") != nil && slices.ContainsFunc(b.figures, func(f figure) bool { return f.what == what && f.share }) {
			b.line(what, who, true)
		}
	}
}

func (b *book) line(what string, who []string, share bool) {
	title := what
	for _, f := range b.figures {
		if f.what == what && f.unit != "" && !share {
			title += ", " + f.unit
			break
		}
	}
	if share {
		title = "— share of tls"
	}
	cells := make([]string, 0, len(who))
	for _, w := range who {
		cells = append(cells, b.cell(what, w, share))
	}
	fmt.Printf("| %s | %s |\n", title, strings.Join(cells, " | "))
}

// of is the figures of a contender, by round.
func (b *book) of(what, contender string) (out []figure) {
	for _, f := range b.figures {
		if f.what == what && f.contender == contender {
			out = append(out, f)
		}
	}
	return out
}

func (b *book) cell(what, contender string, share bool) string {
	var values []float64
	var notes []string
	for _, f := range b.of(what, contender) {
		if f.note != "" && !slices.Contains(notes, f.note) && !share {
			notes = append(notes, f.note)
		}
		v := f.value
		if share {
			i := slices.IndexFunc(b.figures, func(t figure) bool { return t.what == what && t.contender == "tls" && t.round == f.round })
			if i < 0 || b.figures[i].value == 0 {
				continue
			}
			v /= b.figures[i].value
		}
		if f.note == "" || v != 0 {
			values = append(values, v)
		}
	}
	var out []string
	if len(values) > 0 {
		out = append(out, spread(values))
	}
	return strings.NewReplacer("|", "/", "\n", " ").Replace(strings.TrimSpace(strings.Join(append(out, notes...), "; ")))
}

// spread is the median, and what it is the median of.
func spread(values []float64) string {
	v := slices.Sorted(slices.Values(values))
	median := (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	if len(v) == 1 {
		return number(median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(median), number(v[0]), number(v[len(v)-1]))
}

// number has three figures that count.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100 || v <= -100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10 || v <= -10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
