package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

type planning struct {
	files
	output
	remove []string
}

func (c *cli) planCommand() *cobra.Command {
	var p planning
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Show what an apply would change in each node's kernel",
		Long: "Show what an apply, or a deletion, would change in each node's kernel: + added, - deleted,\n" +
			"~ changed. The server answers with every node's intent before and after; the steps are made\n" +
			"by the agents' own planner. Pods' own devices are not part of it. Pairs of nodes that would\n" +
			"go another way are told first, with why; those that choose their way (backends wireguard and auto)\n" +
			"are planned from the way on which their nodes say that they are, to the one on which they begin\n" +
			"where they may not stay. Nothing is written.",
		Example: "  weft plan -f cluster.yaml\n  weft plan --delete node/n7",
		GroupID: groupObjects,
		Args:    noNames,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.plan(cmd.Context(), &p) },
	}
	p.files.flags(cmd)
	p.output.flags(cmd)
	cmd.Flags().StringSliceVar(&p.remove, "delete", nil, "KIND/NAME: as if this were deleted")
	return cmd
}

func (c *cli) plan(ctx context.Context, p *planning) error {
	request, docs, err := c.planRequest(ctx, p)
	if err != nil {
		return err
	}
	client, err := c.resources()
	if err != nil {
		return err
	}
	answer, err := client.Plan(ctx, request)
	if err != nil {
		return &refused{err, docs}
	}
	var plans []nodePlan
	for _, n := range answer.GetNodes() {
		np, err := stepsOf(n)
		if err != nil {
			return fmt.Errorf("node %s: %w", n.GetNode(), err)
		}
		plans = append(plans, np)
	}
	if p.isData() {
		return c.printData(&p.output, struct {
			Nodes []nodePlan `json:"nodes"`
			Moves []pairMove `json:"moves"`
		}{plans, movesOf(answer.GetNodes())})
	}
	moves := movesOf(answer.GetNodes())
	return c.printf("%s%s", movesText(moves), c.paintSteps(planText(plans, len(moves) > 0)))
}

func (c *cli) planRequest(ctx context.Context, p *planning) (*weftv1.PlanRequest, []document.Document, error) {
	if len(p.paths) == 0 && len(p.remove) == 0 {
		return nil, nil, errors.New("plan what? write -f FILE, or --delete KIND/NAME")
	}
	request := &weftv1.PlanRequest{}
	var docs []document.Document
	var err error
	if len(p.paths) > 0 {
		if docs, err = p.read(c); err != nil {
			return nil, nil, err
		}
		request.Apply = resourcesOf(docs)
	}
	if len(p.remove) == 0 {
		return request, docs, nil
	}
	if !strings.Contains(p.remove[0], "/") {
		return nil, nil, fmt.Errorf("--delete %s: write KIND/NAME", p.remove[0])
	}
	targets, err := c.targets(ctx, p.remove)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range targets {
		for _, name := range t.names {
			request.Delete = append(request.Delete, &weftv1.GetRequest{Kind: t.kind.GetName(), Name: name})
		}
	}
	return request, docs, nil
}

// nodePlan is what changes on one node, in the order in which its agent would
// do it.
type nodePlan struct {
	Node     string   `json:"node"`
	Steps    []string `json:"steps"`
	Problems []string `json:"problems"` // that the change would bring
}

// stepsOf runs the agent's pure rooms on both intents of a node.
func stepsOf(n *weftv1.NodePlan) (nodePlan, error) {
	out := nodePlan{Node: n.GetNode(), Steps: []string{}, Problems: []string{}}
	have, known, err := kernelOf(n, n.GetBefore())
	if err != nil {
		return out, fmt.Errorf("as it is: %w", err)
	}
	want, problems, err := kernelOf(n, n.GetAfter())
	switch {
	case err != nil:
		return out, fmt.Errorf("as it would be: %w", err)
	case len(want) == 0 && len(have) > 0:
		// An agent without a lease prunes nothing.
		out.Problems = append(out.Problems, "loses its lease: peers drop it, its own kernel stays as it is until weft-agent cleanup")
		return out, nil
	}
	for _, op := range steps(want, have) {
		out.Steps = append(out.Steps, op.String())
	}
	old := map[string]bool{}
	for _, p := range known {
		old[p] = true
	}
	for _, p := range problems {
		if !old[p] {
			out.Problems = append(out.Problems, p)
		}
	}
	return out, nil
}

// planText is what each node would do. Moving says that pairs move afterwards: what
// their agents do for that, they find out then.
func planText(plans []nodePlan, moving bool) string {
	var b strings.Builder
	untouched := 0
	for _, p := range plans {
		if len(p.Steps) == 0 && len(p.Problems) == 0 {
			untouched++
			continue
		}
		fmt.Fprintf(&b, "%s  %s\n", p.Node, count(len(p.Steps), "step"))
		for _, s := range p.Steps {
			fmt.Fprintf(&b, "  %s\n", s)
		}
		for _, s := range p.Problems {
			fmt.Fprintf(&b, "  problem: %s\n", s)
		}
	}
	if untouched > 0 {
		until := ""
		if moving {
			until = " until the pairs move"
		}
		fmt.Fprintf(&b, "%s: nothing changes in the kernel%s\n", count(untouched, "node"), until)
	}
	if len(plans) == 0 {
		b.WriteString("there are no nodes yet\n")
	}
	return b.String()
}
