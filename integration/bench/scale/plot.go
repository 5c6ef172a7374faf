package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// panel is one small diagram: figures over the count of agents, both axes
// logarithmic. A curve is a row's figure; of several runs the median counts.
type panel struct {
	title  string
	curves []curve
	target map[int]float64 // by agents: what is to be reached
}

type curve struct{ label, row, what string }

var panels = []panel{
	{"until all hold it, ms", []curve{{"a node joins", "one", "ms last"}, {"a node leaves", "leave", "ms last"}, {"a 60 KB object changes", "object", "ms last"}, {"the same, 1 in 10 slow: the others", "slow", "ms last"}}, map[int]float64{1000: 1000, 5000: 5000}},
	{"until all are in step again, s", []curve{{"all join at once", "all", "s until acknowledged"}, {"server restarted", "clean", "s until all in step"}, {"server killed", "kill", "s until all in step"}}, map[int]float64{5000: 30}},
	{"server CPU of it, s", []curve{{"a node joins", "one", "server CPU s"}, {"a 60 KB object changes", "object", "server CPU s"}, {"all join at once", "all", "server CPU s"}, {"server restarted", "clean", "server CPU s"}}, nil},
	{"to all agents, MB", []curve{{"a node joins", "one", "MB to agents"}, {"a 60 KB object changes", "object", "MB to agents"}, {"all join at once", "all", "MB to agents"}, {"server restarted", "clean", "MB to agents"}}, nil},
	{"server memory, KiB an agent", []curve{{"RSS", "memory", "RSS KiB/agent"}}, map[int]float64{5000: 60}},
	{"idle, a second", []curve{{"etcd puts", "idle", "etcd puts/s"}, {"etcd transactions", "idle", "etcd transactions/s"}, {"KB to all agents", "idle", "KB/s to agents"}, {"% CPU of the server", "idle", "server CPU %"}}, map[int]float64{5000: 40}},
}

// Sizes of the picture, in pixels.
const (
	panelWidth, panelHeight = 440, 300
	marginLeft, marginRight = 56, 16
	marginTop, marginBottom = 34, 96
	columns                 = 2
)

var colours = []string{"#1f77b4", "#d62728", "#2ca02c", "#9467bd"}

// plot writes the picture of a CSV file: plot FIGURES.csv PICTURE.svg.
func plot(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want: plot FIGURES.csv PICTURE.svg")
	}
	figures, err := readTable(args[0])
	if err != nil {
		return err
	}
	file, err := os.Create(args[1])
	if err != nil {
		return err
	}
	return errors.Join(draw(file, figures), file.Close())
}

func draw(w io.Writer, figures []figure) error {
	var b strings.Builder
	lines := (len(panels) + columns - 1) / columns
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", columns*panelWidth, lines*panelHeight)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d,%d)">`+"\n", i%columns*panelWidth, i/columns*panelHeight)
		p.draw(&b, figures)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// points of a curve, by count of agents, in one kind of fabric.
func points(figures []figure, c curve, servers int, etcd string) map[int]float64 {
	all := map[int][]float64{}
	for _, f := range figures {
		if f.row == c.row && f.what == c.what && f.servers == servers && f.etcd == etcd && f.value > 0 {
			all[f.agents] = append(all[f.agents], f.value)
		}
	}
	out := map[int]float64{}
	for n, vs := range all {
		slices.Sort(vs)
		out[n] = vs[len(vs)/2]
	}
	return out
}

// kinds of fabrics, each drawn with dashes of its own.
var kinds = []struct {
	label   string
	servers int
	etcd    string
	dashes  string
}{
	{"embedded etcd", 1, "embedded", ""},
	{"external etcd", 1, "external", "6 3"},
	{"3 servers", 3, "external", "2 3"},
}

func (p panel) draw(b *strings.Builder, figures []figure) {
	x, y, ok := p.axes(figures)
	fmt.Fprintf(b, `<text x="%d" y="20" font-size="13" font-weight="bold">%s, by agents</text>`+"\n", marginLeft, p.title)
	if !ok {
		return
	}
	for _, n := range p.sizes(figures) {
		at := x.place(float64(n))
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n",
			at, marginTop, at, panelHeight-marginBottom, at, panelHeight-marginBottom+14, n)
	}
	y.grid(b, func(at float64, label string) string {
		return fmt.Sprintf(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			marginLeft, at, panelWidth-marginRight, at, marginLeft-4, at+4, label)
	})
	for n, v := range p.target {
		fmt.Fprintf(b, `<path d="M%.1f %.1f m-6 0 h12" stroke="black" stroke-width="2"/><title>target</title>`+"\n", x.place(float64(n)), y.place(v))
	}
	for i, c := range p.curves {
		for _, k := range kinds {
			line(b, points(figures, c, k.servers, k.etcd), x, y, colours[i], k.dashes)
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", marginLeft+i%2*190, panelHeight-marginBottom+32+i/2*14, colours[i], c.label)
	}
	var legend []string
	for _, k := range kinds {
		legend = append(legend, k.label+map[string]string{"": " ——", "6 3": " – –", "2 3": " ····"}[k.dashes])
	}
	if p.target != nil {
		legend = append(legend, "target ▬")
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#555">%s</text>`+"\n", marginLeft, panelHeight-marginBottom+64, strings.Join(legend, " · "))
}

func line(b *strings.Builder, at map[int]float64, x, y axis, colour, dashes string) {
	var path []string
	for _, n := range slices.Sorted(maps.Keys(at)) {
		px, py := x.place(float64(n)), y.place(at[n])
		path = append(path, fmt.Sprintf("%.1f,%.1f", px, py))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%d agents: %.4g</title></circle>`+"\n", px, py, colour, n, at[n])
	}
	if len(path) > 1 {
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5" stroke-dasharray="%s"/>`+"\n", strings.Join(path, " "), colour, cmp.Or(dashes, "none"))
	}
}

// axis is logarithmic.
type axis struct {
	low, high float64 // exponents
	from, to  float64 // pixels
}

func (a axis) place(v float64) float64 {
	return a.from + (math.Log10(v)-a.low)/(a.high-a.low)*(a.to-a.from)
}

func (a axis) grid(b *strings.Builder, mark func(at float64, label string) string) {
	for e := a.low; e <= a.high; e++ {
		v := math.Pow(10, e)
		b.WriteString(mark(a.place(v), strconv.FormatFloat(v, 'g', -1, 64)) + "\n")
	}
}

// sizes of the fabrics that a panel has figures of.
func (p panel) sizes(figures []figure) []int {
	all := map[int]bool{}
	for _, c := range p.curves {
		for _, k := range kinds {
			for n := range points(figures, c, k.servers, k.etcd) {
				all[n] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// axes that hold all points and targets of a panel. ok is false if there are none.
func (p panel) axes(figures []figure) (x, y axis, ok bool) {
	xs, ys := []float64{}, []float64{}
	for _, c := range p.curves {
		for _, k := range kinds {
			for n, v := range points(figures, c, k.servers, k.etcd) {
				xs, ys = append(xs, math.Log10(float64(n))), append(ys, math.Log10(v))
			}
		}
	}
	if len(xs) == 0 {
		return x, y, false
	}
	for n, v := range p.target {
		xs, ys = append(xs, math.Log10(float64(n))), append(ys, math.Log10(v))
	}
	const air = 0.1
	x = axis{slices.Min(xs) - air, slices.Max(xs) + air, marginLeft, panelWidth - marginRight}
	y = axis{math.Floor(slices.Min(ys)), math.Ceil(slices.Max(ys)), panelHeight - marginBottom, marginTop}
	if y.low == y.high {
		y.high++
	}
	return x, y, true
}
