package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// completionTime bounds what a person waits for after Tab.
const completionTime = 2 * time.Second

// completeKinds offers kinds, and nothing when no server answers.
func (c *cli) completeKinds(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(completionContext(cmd), completionTime)
	defer cancel()
	k, err := c.known(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, kind := range k.all {
		out = append(out, kind.GetPlural()+"\t"+kind.GetDescription())
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeObjects offers kinds, then names of that kind that are not given yet.
func (c *cli) completeObjects(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 && !strings.Contains(prefix, "/") {
		return c.completeKinds(cmd, args, prefix)
	}
	ctx, cancel := context.WithTimeout(completionContext(cmd), completionTime)
	defer cancel()
	kindName, withKind := "", ""
	if len(args) > 0 {
		kindName = args[0]
	}
	if before, _, ok := strings.Cut(prefix, "/"); ok && len(args) == 0 {
		kindName, withKind = before, before+"/"
	}
	k, err := c.known(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	kind, err := k.find(kindName)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	items, err := c.fetch(ctx, selection{}, target{kind: kind})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names(items, withKind, args), cobra.ShellCompDirectiveNoFileComp
}

func names(items []*weftv1.Resource, prefix string, given []string) []string {
	var out []string
	for _, r := range items {
		if name := r.GetMetadata().GetName(); !slices.Contains(given, name) {
			out = append(out, prefix+name)
		}
	}
	return out
}

// completionContext is the command's, which cobra leaves nil while completing.
func completionContext(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}
