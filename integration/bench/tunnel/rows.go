package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// row is one measurement, of one contender at a time.
type row struct {
	name    string
	most    int      // rounds that are enough, as it is long, or counts what does not vary; 0: all
	waits   bool     // nothing in it is busy: all that wait are gone through at once, in the end
	wide    bool     // of interest for several sessions, too
	only    []string // contenders that it makes sense for; all if empty
	measure func(context.Context, *bench, contender) ([]figure, error)
}

var rows = []row{
	{name: "one", measure: flows(shape{}, 1, "one stream")},
	{name: "many", wide: true, measure: flows(shape{}, 64, "64 streams")},
	{name: "both", wide: true, measure: both},
	{name: "far", measure: flows(shape{delay: oneWay}, 1, "one stream at 40 ms")},
	{name: "dial", measure: dialing},
	{name: "fardial", measure: farDialing},
	{name: "beside", wide: true, measure: beside},
	{name: "floor", most: 1, only: []string{"tls", "weft"}, measure: floor},
	{name: "stall", most: 2, measure: stalled},
	{name: "refused", most: 1, measure: refused},
	{name: "idle", most: 1, only: []string{"tls", "yamux", "remotedialer", "weft"}, measure: idle},
	{name: "tunnels", most: 1, only: []string{"yamux", "remotedialer", "weft"}, measure: tunnels},
	{name: "burst", most: 1, only: []string{"yamux", "remotedialer", "konnectivity", "weft"}, measure: burst},
	{name: "frozen", most: 1, waits: true, measure: frozen},
	{name: "cut", most: 1, waits: true, measure: cut},
}

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
	book *book
}

func measure(ctx context.Context, o options) error {
	b := &bench{options: o, book: newBook(o)}
	began := time.Now()
	var busy, waiting []row
	for _, r := range rows {
		switch {
		case len(o.rows) > 0 && !slices.Contains(o.rows, r.name):
		case r.waits:
			waiting = append(waiting, r)
		default:
			busy = append(busy, r)
		}
	}
	for round := range o.runs {
		for _, r := range busy {
			for _, c := range b.who(r) {
				if r.most > 0 && round >= r.most {
					continue
				}
				if err := b.one(ctx, r, c, round); err != nil {
					return err
				}
			}
		}
	}
	var all errgroup.Group
	for _, r := range waiting {
		for _, c := range b.who(r) {
			all.Go(func() error { return b.one(ctx, r, c, 0) })
		}
	}
	if err := all.Wait(); err != nil {
		return err
	}
	b.book.print()
	fmt.Printf("\n%d round(s) in %v\n", o.runs, time.Since(began).Round(time.Second))
	return nil
}

// who goes through a row.
func (b *bench) who(r row) (who []contender) {
	for _, c := range contenders {
		switch {
		case len(r.only) > 0 && !slices.Contains(r.only, c.name):
		case len(b.contenders) > 0 && !slices.Contains(b.contenders, c.name):
		case len(b.contenders) == 0 && c.wide > 1 && !r.wide:
		default:
			who = append(who, c)
		}
	}
	return who
}

// one measures one contender in a row. What fails is a figure too: that it failed,
// and how.
func (b *bench) one(ctx context.Context, r row, c contender, round int) error {
	figures, err := r.measure(ctx, b, c)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		figures = append(figures, figure{what: r.name, note: "failed: " + err.Error()})
	}
	for _, f := range figures {
		f.row, f.contender, f.round = r.name, c.name, round
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
