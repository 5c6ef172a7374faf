package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) watchCommand() *cobra.Command {
	var o output
	var s selection
	cmd := &cobra.Command{
		Use:     "watch KIND [NAME...]",
		Short:   "Tell every change: when, what, which object, at which revision",
		GroupID: groupObjects,
		Args:    needKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := c.targets(cmd.Context(), args)
			if err != nil {
				return err
			}
			if len(targets) != 1 {
				return errors.New("watch one kind at a time")
			}
			return c.events(cmd.Context(), s, targets[0], func(e *weftv1.WatchResponse) error { return c.printEvent(&o, e) })
		},
		ValidArgsFunction: c.completeObjects,
	}
	o.flags(cmd)
	s.flags(cmd)
	return cmd
}

// events calls fn with every event of a watch until the person ends it. A server
// that goes is followed by the next, or by itself once it is back; what changed
// meanwhile is told as it is found then.
func (c *cli) events(ctx context.Context, s selection, t target, fn func(*weftv1.WatchResponse) error) error {
	client, err := c.resources()
	if err != nil {
		return err
	}
	heard := false
	r := resumption{progress: s.progress, fn: func(e *weftv1.WatchResponse) error {
		if len(t.names) > 0 && e.GetVerb() != synced && !slices.Contains(t.names, e.GetItem().GetMetadata().GetName()) {
			return nil
		}
		return fn(e)
	}}
	return c.again(ctx, func() error {
		r.begin()
		stream, err := client.Watch(ctx, &weftv1.WatchRequest{Kind: t.kind.GetName(), Namespace: s.namespace, Selector: s.selector, Progress: s.progress})
		for err == nil {
			var e *weftv1.WatchResponse
			if e, err = stream.Recv(); err != nil {
				break
			}
			heard = true
			if err := r.take(e); err != nil {
				return fatal{err}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case !heard: // nobody there at first is for the person to see, not to wait for
			return fatal{err}
		}
		return err
	})
}

// event is a change as data.
type event struct {
	Verb     string          `json:"verb"`
	Revision int64           `json:"revision"`
	Object   document.Object `json:"object"`
}

func (c *cli) printEvent(o *output, e *weftv1.WatchResponse) error {
	switch {
	case e.GetVerb() == synced || e.GetVerb() == existing && !o.isData():
		return nil
	case o.isData():
		return c.printData(o, event{e.GetVerb(), e.GetRevision(), document.Of(e.GetItem())})
	case o.format == asName:
		return c.printf("%s\n", objectName(e.GetItem()))
	}
	return c.printf("%s  %-10s  %s  revision %d\n", c.now().Format("15:04:05"), e.GetVerb(), objectName(e.GetItem()), e.GetRevision())
}

// follow is get -w: a table of what exists, then a row a change.
func (c *cli) follow(ctx context.Context, o *output, s selection, targets []target) error {
	if len(targets) != 1 {
		return errors.New("-w takes one kind at a time")
	}
	t := targets[0]
	f := follower{cli: c, o: o, kind: t.kind, namespaces: t.kind.GetNamespaced() && s.namespace == ""}
	return c.events(ctx, s, t, f.take)
}

type follower struct {
	*cli
	o          *output
	kind       *weftv1.Kind
	namespaces bool
	existing   []*weftv1.Resource
	synced     bool
	widths     []int
}

func (f *follower) take(e *weftv1.WatchResponse) error {
	switch {
	case f.o.isData() || f.o.format == asName:
		if e.GetVerb() == synced {
			return nil
		}
		return f.printResources(f.o, f.kind, []*weftv1.Resource{e.GetItem()}, true, false)
	case e.GetVerb() == synced:
		f.synced = true
		return f.rows(f.existing, f.o.noHeaders)
	case !f.synced:
		f.existing = append(f.existing, e.GetItem())
		return nil
	}
	return f.rows([]*weftv1.Resource{e.GetItem()}, true)
}

// rows prints in the widths of the first rows, so that columns line up.
func (f *follower) rows(items []*weftv1.Resource, bare bool) error {
	t, err := f.objectTable(f.o, f.kind, items, f.namespaces)
	if err != nil {
		return err
	}
	if f.widths == nil {
		f.widths = t.Widths(f.o.noHeaders)
	}
	t.Paint = f.paintCell
	return f.printf("%s", t.TextAs(f.widths, bare))
}

// labelText is labels as -l takes them, sorted.
func labelText(labels map[string]string) string {
	var words []string
	for k, v := range labels {
		words = append(words, k+"="+v)
	}
	slices.Sort(words)
	return strings.Join(words, ",")
}
