package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// row is one measurement, of one contender at a time.
type row struct {
	name    string
	once    bool     // one round is enough: it is long, or counts what does not vary
	only    []string // contenders that it makes sense for; all if empty
	measure func(context.Context, *bench, contender) ([]figure, error)
}

var rows = []row{
	{name: "one", measure: flows(shape{}, 1, "one stream")},
	{name: "many", measure: flows(shape{}, 64, "64 streams")},
	{name: "both", measure: both},
	{name: "far", measure: flows(shape{delay: oneWay}, 1, "one stream at 40 ms")},
	{name: "dial", measure: dialing},
	{name: "fardial", measure: farDialing},
	{name: "beside", measure: beside},
	{name: "stall", measure: stalled},
	{name: "refused", once: true, measure: refused},
	{name: "idle", once: true, only: []string{"tls", "yamux", "remotedialer", "weft"}, measure: idle},
	{name: "tunnels", once: true, only: []string{"yamux", "remotedialer", "weft"}, measure: tunnels},
	{name: "burst", once: true, only: []string{"yamux", "remotedialer", "konnectivity", "weft"}, measure: burst},
	{name: "frozen", once: true, measure: frozen},
	{name: "cut", once: true, measure: cut},
}

// together are rows in which nothing is busy: contenders go through them at the same
// time, or they would take most of a run.
var together = []string{"frozen", "cut"}

const oneWay = 20 * time.Millisecond

// rtt of the far rows, seconds.
var rtt = (2 * oneWay).Seconds()

func rowNames() (out []string) {
	for _, r := range rows {
		out = append(out, r.name)
	}
	return out
}

// bench is a run.
type bench struct {
	options
	book  *book
	round int
}

func measure(ctx context.Context, o options) error {
	b := &bench{options: o, book: newBook(o)}
	began := time.Now()
	for b.round = range o.runs {
		for _, r := range rows {
			if (len(o.rows) > 0 && !slices.Contains(o.rows, r.name)) || (r.once && b.round > 0) {
				continue
			}
			if err := b.contest(ctx, r); err != nil {
				return err
			}
		}
	}
	b.book.print()
	fmt.Printf("\n%d round(s) in %v\n", o.runs, time.Since(began).Round(time.Second))
	return nil
}

// contest is one row of one round.
func (b *bench) contest(ctx context.Context, r row) error {
	var who []contender
	for _, c := range contenders {
		if (len(b.contenders) == 0 || slices.Contains(b.contenders, c.name)) && (len(r.only) == 0 || slices.Contains(r.only, c.name)) {
			who = append(who, c)
		}
	}
	if slices.Contains(together, r.name) {
		done := make(chan error, len(who))
		for _, c := range who {
			go func() { done <- b.one(ctx, r, c) }()
		}
		for range who {
			if err := <-done; err != nil {
				return err
			}
		}
		return nil
	}
	for _, c := range who {
		if err := b.one(ctx, r, c); err != nil {
			return err
		}
	}
	return nil
}

// one measures one contender in a row. What fails is a figure too: that it failed,
// and how.
func (b *bench) one(ctx context.Context, r row, c contender) error {
	figures, err := r.measure(ctx, b, c)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		figures = append(figures, figure{what: r.name, note: "failed: " + err.Error()})
	}
	for _, f := range figures {
		f.row, f.contender, f.round = r.name, c.name, b.round
		if err := b.book.add(f); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
