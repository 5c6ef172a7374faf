package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) describeCommand() *cobra.Command {
	var s selection
	cmd := &cobra.Command{
		Use:     "describe KIND [NAME...] | KIND/NAME...",
		Short:   "Show all of an object, with what is wrong about it",
		GroupID: groupObjects,
		Args:    needKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := c.targets(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.describe(cmd.Context(), s, targets)
		},
		ValidArgsFunction: c.completeObjects,
	}
	s.flags(cmd)
	return cmd
}

func (c *cli) describe(ctx context.Context, s selection, targets []target) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	problems, err := weftv1.NewStatusClient(conn).ListProblems(ctx, &weftv1.ListProblemsRequest{})
	if err != nil {
		return err
	}
	first := true
	for _, t := range targets {
		items, err := c.fetch(ctx, s, t)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			c.sayNone(t, s)
		}
		for _, r := range items {
			text, err := c.description(r, about(r, problems.GetProblems()))
			if err != nil {
				return err
			}
			if !first {
				text = "\n" + text
			}
			first = false
			if err := c.printf("%s", text); err != nil {
				return err
			}
		}
	}
	return nil
}

// about picks the problems of an object: those of a node, those that name it.
func about(r *weftv1.Resource, problems []*weftv1.Problem) []*weftv1.Problem {
	var out []*weftv1.Problem
	for _, p := range problems {
		if r.GetKind() == "Node" && p.GetNode() == r.GetMetadata().GetName() || p.GetSubject() == document.Name(r) {
			out = append(out, p)
		}
	}
	return out
}

func (c *cli) description(r *weftv1.Resource, problems []*weftv1.Problem) (string, error) {
	m := r.GetMetadata()
	var b strings.Builder
	line := func(title, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", title+":", value)
		}
	}
	line("Name", m.GetName())
	line("Namespace", m.GetNamespace())
	line("Kind", r.GetKind())
	line("Labels", orNone(labelText(m.GetLabels())))
	if m.GetCreatedUnix() != 0 {
		line("Created", fmt.Sprintf("%s (%s ago)", time.Unix(m.GetCreatedUnix(), 0).UTC().Format(time.RFC3339), table.Since(m.GetCreatedUnix(), c.now())))
	}
	if m.GetRevision() != 0 {
		line("Revision", number(m.GetRevision()))
	}
	for _, part := range []struct {
		title  string
		fields map[string]any
	}{{"Spec", r.GetSpec().AsMap()}, {"Status", r.GetStatus().AsMap()}} {
		if len(part.fields) == 0 {
			continue
		}
		y, err := document.YAML(part.fields)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s:\n%s", part.title, indent(string(y), "  "))
	}
	line("Problems", map[bool]string{true: "none"}[len(problems) == 0])
	if len(problems) > 0 {
		fmt.Fprintf(&b, "Problems:\n%s", indent(c.problemTable(problems, false), "  "))
	}
	return b.String(), nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func indent(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}
