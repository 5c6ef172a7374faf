package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// rungText is a way by which a pair sends, with who carries it.
func rungText(rung, via string) string {
	if via == "" {
		return rung
	}
	return strings.TrimSuffix(rung, " (node)") + " (" + via + ")"
}

// maxMatrix is the largest number of nodes that is drawn as a matrix.
const maxMatrix = 16

func (c *cli) meshCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "mesh",
		Short:   "How each pair of nodes reaches each other",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pairs, err := c.matrix(cmd.Context())
			if err != nil {
				return err
			}
			nodes := nodesOf(pairs)
			switch {
			case o.isData():
				return c.printMessage(&o, &weftv1.MatrixResponse{Pairs: pairs})
			case len(pairs) == 0:
				c.say("there are no two nodes")
				return nil
			case o.format == asWide || len(nodes) > maxMatrix:
				return c.printTable(&o, pairTable(pairs))
			}
			return c.printTable(&o, matrixTable(nodes, pairs))
		},
	}
	o.flags(cmd)
	cmd.AddCommand(c.meshExplainCommand())
	return cmd
}

func (c *cli) matrix(ctx context.Context) ([]*weftv1.PairPath, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	answer, err := weftv1.NewMeshClient(conn).Matrix(ctx, &weftv1.MatrixRequest{})
	return answer.GetPairs(), err
}

func nodesOf(pairs []*weftv1.PairPath) []string {
	var out []string
	for _, p := range pairs {
		out = append(out, p.GetFrom(), p.GetTo())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func pairTable(pairs []*weftv1.PairPath) *table.Table {
	t := &table.Table{Titles: []string{"FROM", "TO", "TRANSPORT", "MTU", "FROM-ADDRESS", "TO-ADDRESS", "WHY"}}
	for _, p := range pairs {
		for _, d := range directions(p) {
			t.Add(d.GetFrom(), d.GetTo(), wayText(d), mtuText(d), d.GetFromAddress(), d.GetToAddress(), d.GetWhy())
		}
	}
	return t
}

// directions are both of a pair that chooses its way, each as its sender says; a pair
// that does not choose has one way for both.
func directions(p *weftv1.PairPath) []*weftv1.PairPath {
	if p.GetBack() == nil {
		return []*weftv1.PairPath{p}
	}
	return []*weftv1.PairPath{p, p.GetBack()}
}

// wayText is the way of a direction, whether its sender was asked, and whether anything
// answers by it.
func wayText(d *weftv1.PairPath) string {
	text := rungText(d.GetTransport(), d.GetVia())
	if d.GetUnasked() && text != "not told yet" {
		return text + "?"
	}
	if d.GetDown() && text != "none" && text != "down" {
		text += " DOWN"
	}
	return text
}

func mtuText(p *weftv1.PairPath) string {
	if p.GetMtu() == 0 {
		return "-"
	}
	return fmt.Sprint(p.GetMtu())
}

func matrixTable(nodes []string, pairs []*weftv1.PairPath) *table.Table {
	cells := map[[2]string]string{}
	for _, p := range pairs {
		cells[[2]string{p.GetTo(), p.GetFrom()}] = cellText(p)
		for _, d := range directions(p) {
			cells[[2]string{d.GetFrom(), d.GetTo()}] = cellText(d)
		}
	}
	t := &table.Table{Titles: append([]string{"NODE"}, nodes...)}
	for _, a := range nodes {
		row := []string{a}
		for _, b := range nodes {
			row = append(row, cells[[2]string{a, b}])
		}
		t.Add(row...)
	}
	return t
}

// cellText is a direction in the matrix: who sends stands before the row.
func cellText(d *weftv1.PairPath) string {
	text, dead := strings.CutSuffix(wayText(d), " DOWN")
	if d.GetMtu() != 0 && d.GetTransport() != "none" {
		text += " " + fmt.Sprint(d.GetMtu())
	}
	if dead {
		text += " DOWN"
	}
	return text
}
