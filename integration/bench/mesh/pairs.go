package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// climbing is how long pairs may climb before it is asked where they stand.
const climbing = 15 * time.Second

// couple is two nodes.
type couple struct {
	a, b int
	took [2]time.Duration // from both in step until a ping of each end is answered
}

// pairs: nodes join one by one, two of each kind of NAT, and each meets those that are
// there already.
func pairs(ctx context.Context, b *bench) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var kinds []lab.NAT
	for _, k := range lab.Kinds() {
		kinds = append(kinds, k, k)
	}
	l, err := lab.NewFabric(ctx, b.bin, lab.Layout{Nodes: len(kinds), NATs: kinds, Under: "4"})
	if err != nil {
		return line{}, err
	}
	f := &fabric{Fabric: l}
	defer f.Close()
	if err := f.StartServer(ctx, backend...); err != nil {
		return line{}, err
	}
	var all []couple
	for n := range f.Nodes {
		met, err := f.join(ctx, n)
		if err != nil {
			return line{}, err
		}
		all = append(all, met...)
	}
	pause(ctx, climbing)
	rungs := map[string][]string{}
	for _, c := range all {
		ends, err := f.ends(ctx, f.Nodes[c.a].Name, f.Nodes[c.b].Name)
		if err != nil {
			return line{}, err
		}
		rung, kind := how(ends), fmt.Sprintf("%s–%s", kinds[c.a], kinds[c.b])
		say("%s (%s): %v and %v, then %s", kind, f.Nodes[c.a].Name+" "+f.Nodes[c.b].Name, c.took[0].Round(time.Millisecond), c.took[1].Round(time.Millisecond), rung)
		if !slices.Contains(rungs[rung], kind) {
			rungs[rung] = append(rungs[rung], kind)
		}
	}
	return line{
		fmt.Sprintf("%d pairs of nodes, all 25 kinds: both in step until the first ping passes; rung after %v", len(all), climbing), "",
		firsts(all, kinds) + "; " + listed(rungs),
	}, nil
}

// firsts is how long the first pings took.
func firsts(all []couple, kinds []lab.NAT) string {
	var took []float64
	var slowest time.Duration
	var who string
	late := 0
	for _, c := range all {
		for i, t := range c.took {
			took = append(took, ms(t))
			if t >= time.Second {
				late++
			}
			if t > slowest {
				slowest, who = t, fmt.Sprintf("%s to %s", kinds[[2]int{c.a, c.b}[i]], kinds[[2]int{c.b, c.a}[i]])
			}
		}
	}
	return fmt.Sprintf("**%s**, %d of %d at 1 s or later, slowest %s", spread(took, 0, " ms"), late, len(took), who)
}

// listed is which kinds stand on which rung.
func listed(rungs map[string][]string) string {
	var out []string
	for _, r := range slices.Sorted(maps.Keys(rungs)) {
		out = append(out, fmt.Sprintf("%s: %s", r, strings.Join(rungs[r], ", ")))
	}
	return strings.Join(out, "; ")
}

// how is the rung of a pair; of both ends, if they differ.
func how(ends []standing) string {
	var words []string
	for _, s := range ends {
		word := s.Rung
		if s.Via != "" {
			word = "relayed"
		}
		if !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return strings.Join(words, "/")
}

// join starts the agent of one more node, and waits until it and each before it have an
// answer of the other.
func (f *fabric) join(ctx context.Context, n int) ([]couple, error) {
	h := f.Nodes[n]
	if _, err := f.Agent(h, "--iface", "eth0"); err != nil {
		return nil, err
	}
	fabrics, err := f.leased(ctx, n+1)
	if err != nil {
		return nil, err
	}
	began, err := f.inStep(ctx, n+1)
	if err != nil {
		return nil, err
	}
	flows := make([][2]*lab.Flow, n)
	for i, old := range f.Nodes[:n] {
		for j, ends := range [2][2]*lab.Host{{old, h}, {h, old}} {
			if flows[i][j], err = lab.StartFlow(ends[0], fabrics[ends[1].Name], 2*every); err != nil {
				return nil, err
			}
			defer flows[i][j].Close()
		}
	}
	out := make([]couple, n)
	for i := range out {
		out[i] = couple{a: i, b: n}
		for j, flow := range flows[i] {
			err := lab.Until(ctx, fmt.Sprintf("%s and %s meet", f.Nodes[i].Name, h.Name), func() (string, error) {
				if flow.Answered().IsZero() {
					return "", lab.ErrNotYet
				}
				return "", nil
			})
			if err != nil {
				return nil, err
			}
			out[i].took[j] = max(0, flow.Answered().Sub(began))
		}
	}
	return out, nil
}

// leased waits until so many nodes have a lease, and gives their fabric addresses.
func (f *fabric) leased(ctx context.Context, count int) (map[string]netip.Addr, error) {
	fabrics := map[string]netip.Addr{}
	err := lab.Until(ctx, fmt.Sprintf("%d nodes have a lease", count), func() (string, error) {
		out, err := f.Weft(ctx, "get", "nodes", "-o", "json")
		if err != nil {
			return out, err
		}
		var list struct {
			Items []struct {
				Metadata struct{ Name string }
				Status   struct{ Lease []netip.Prefix }
			}
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return out, err
		}
		for _, n := range list.Items {
			if len(n.Status.Lease) > 0 {
				fabrics[n.Metadata.Name] = n.Status.Lease[0].Addr()
			}
		}
		if len(fabrics) < count {
			return out, lab.ErrNotYet
		}
		return "", nil
	})
	return fabrics, err
}

// inStep waits until so many nodes are in step, and gives the time at which the question
// was asked whose answer is yes: what is measured from there on is the command too that
// asked, and no less.
func (f *fabric) inStep(ctx context.Context, count int) (asked time.Time, err error) {
	want := fmt.Sprintf("%d of %d nodes in step", count, count)
	err = lab.Until(ctx, want, func() (string, error) {
		asked = time.Now()
		out, _ := f.Weft(ctx, "status") // exits 1 while there are problems
		if !strings.Contains(out, want) {
			return out, lab.ErrNotYet
		}
		return "", nil
	})
	return asked, err
}
