package main

import (
	"bytes"
	"context"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) diffCommand() *cobra.Command {
	var f files
	cmd := &cobra.Command{
		Use:     "diff -f FILE",
		Short:   "Show what an apply would change; exit status 1 when it would, 2 when it could not be asked",
		GroupID: groupObjects,
		Args:    noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.diff(cmd.Context(), &f)
		},
	}
	f.flags(cmd)
	return cmd
}

func (c *cli) diff(ctx context.Context, f *files) error {
	docs, err := f.read(c)
	if err != nil {
		return &exit{2, err}
	}
	client, err := c.resources()
	if err != nil {
		return &exit{2, err}
	}
	answer, err := client.Apply(ctx, &weftv1.ApplyRequest{Items: resourcesOf(docs), DryRun: true})
	if err != nil {
		return &exit{2, &refused{err, docs}}
	}
	differs := false
	for _, r := range answer.GetResults() {
		text, err := difference(r.GetBefore(), r.GetAfter())
		if err != nil {
			return &exit{2, err}
		}
		differs = differs || text != ""
		if err := c.print([]byte(c.paintSteps(text))); err != nil {
			return &exit{2, err}
		}
	}
	if differs {
		return &exit{code: 1}
	}
	return nil
}

// difference is a unified diff of what a person writes of two objects.
func difference(before, after *weftv1.Resource) (string, error) {
	old, err := written(before)
	if err != nil {
		return "", err
	}
	now, err := written(after)
	if err != nil {
		return "", err
	}
	some := after
	if some == nil {
		some = before
	}
	name := objectName(some)
	out := diff.Diff("live/"+name, old, "applied/"+name, now)
	_, out, _ = bytes.Cut(out, []byte("\n")) // its own first line, "diff a b"
	return strings.ReplaceAll(string(out), "\t", "    "), nil
}

// written is an object without what servers add.
func written(r *weftv1.Resource) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	o := document.Of(r)
	o.Status, o.Metadata.Revision, o.Metadata.CreatedUnix, o.Metadata.CreationTimestamp = nil, 0, 0, ""
	return document.YAML(o)
}
