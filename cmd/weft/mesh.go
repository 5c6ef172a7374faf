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
		t.Add(p.GetFrom(), p.GetTo(), rungText(p.GetTransport(), p.GetVia()), mtuText(p), p.GetFromAddress(), p.GetToAddress(), p.GetWhy())
	}
	return t
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
		text := rungText(p.GetTransport(), p.GetVia())
		if p.GetMtu() != 0 {
			text += " " + fmt.Sprint(p.GetMtu())
		}
		if p.GetDown() {
			text += " DOWN"
		}
		cells[[2]string{p.GetFrom(), p.GetTo()}] = text
		cells[[2]string{p.GetTo(), p.GetFrom()}] = text
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
