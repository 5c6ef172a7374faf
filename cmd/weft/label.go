package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

type labelling struct {
	selection
	output
	overwrite bool
	every     bool // of the kinds given
}

func (c *cli) labelCommand() *cobra.Command {
	var l labelling
	cmd := &cobra.Command{
		Use:     "label KIND NAME KEY=VALUE... KEY-...",
		Short:   "Set labels, or take them away (KEY-)",
		Example: "  weft label node n1 site=fra\n  weft label node n1 site-\n  weft label nodes --all site=fra",
		GroupID: groupObjects,
		Args:    needKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			objects, set, gone, err := splitLabels(args)
			if err != nil {
				return err
			}
			targets, err := c.targets(cmd.Context(), objects)
			if err != nil {
				return err
			}
			return c.label(cmd.Context(), &l, targets, set, gone)
		},
		ValidArgsFunction: c.completeObjects,
	}
	l.selection.flags(cmd)
	l.output.flags(cmd)
	cmd.Flags().BoolVar(&l.every, "all", false, "all objects of the kind")
	cmd.MarkFlagsMutuallyExclusive("all", "selector")
	cmd.Flags().BoolVar(&l.overwrite, "overwrite", false, "change labels that are there with another value")
	return cmd
}

// splitLabels parts objects from KEY=VALUE and KEY-. No name ends in a dash
// (RFC 1123, section 2.1).
func splitLabels(args []string) (objects []string, set map[string]string, gone []string, err error) {
	set = map[string]string{}
	for i, a := range args {
		key, value, isSet := strings.Cut(a, "=")
		switch {
		case isSet && key != "":
			set[key] = value
		case i > 0 && strings.HasSuffix(a, "-"):
			gone = append(gone, strings.TrimSuffix(a, "-"))
		case len(set)+len(gone) > 0:
			return nil, nil, nil, fmt.Errorf("%q: labels are KEY=VALUE or KEY-, after the names", a)
		default:
			objects = append(objects, a)
		}
	}
	for _, key := range gone {
		if _, both := set[key]; both {
			return nil, nil, nil, fmt.Errorf("label %s: %s=%s sets it and %s- takes it away; write one of them", key, key, set[key], key)
		}
	}
	if len(objects) == 0 || len(set)+len(gone) == 0 {
		return nil, nil, nil, errors.New("write: weft label KIND NAME KEY=VALUE, or KEY- to take one away")
	}
	return objects, set, gone, nil
}

// label reads each object, changes its labels and replaces it, on condition that
// nobody changed it meanwhile.
func (c *cli) label(ctx context.Context, l *labelling, targets []target, set map[string]string, gone []string) error {
	client, err := c.resources()
	if err != nil {
		return err
	}
	var items []*weftv1.Resource
	for _, t := range targets {
		switch {
		case len(t.names) == 0 && l.selector == "" && !l.every:
			return fmt.Errorf("which %s? name them, or -l, or --all", t.kind.GetPlural())
		case len(t.names) > 0 && l.every:
			return fmt.Errorf("--all are all %s; leave the names away, or --all", t.kind.GetPlural())
		}
		found, err := c.fetch(ctx, l.selection, t)
		if err != nil {
			return err
		}
		items = append(items, found...)
	}
	for _, r := range items {
		for _, key := range gone {
			if _, ok := r.GetMetadata().GetLabels()[key]; !ok {
				c.say("label %s not found on %s%s", key, objectName(r), brought(r, key))
			}
		}
		if err := relabel(r, set, gone, l.overwrite); err != nil {
			return err
		}
	}
	if len(items) == 0 {
		return errors.New("there is no such object; nothing was changed")
	}
	answer, err := client.Replace(ctx, &weftv1.ReplaceRequest{Items: items})
	if err != nil {
		return &refused{err: err}
	}
	return c.printResults(&l.output, answer.GetResults(), false)
}

// brought says what to do about a label that a node has of its agent: an applied one
// beats it, and nothing else.
func brought(r *weftv1.Resource, key string) string {
	if r.GetKind() != "Node" {
		return ""
	}
	name := r.GetMetadata().GetName()
	return fmt.Sprintf("; one that the agent brings (--node-label) is changed there, or beaten: weft label node %s %s=VALUE", name, key)
}

func relabel(r *weftv1.Resource, set map[string]string, gone []string, overwrite bool) error {
	labels := maps.Clone(r.GetMetadata().GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	for key, value := range set {
		if old, ok := labels[key]; ok && old != value && !overwrite {
			return fmt.Errorf("%s has label %s=%s; --overwrite changes it", objectName(r), key, old)
		}
		labels[key] = value
	}
	for _, key := range gone {
		delete(labels, key)
	}
	r.Metadata.Labels, r.Status = labels, nil
	return nil
}
