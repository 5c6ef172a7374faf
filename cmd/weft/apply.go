package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// write is what apply and replace have in common.
type write struct {
	files
	output
	dry         dryRun
	wait        bool
	waitTimeout time.Duration
}

func (w *write) flags(cmd *cobra.Command) {
	w.files.flags(cmd)
	w.output.flags(cmd)
	w.dry.flag(cmd)
	cmd.Flags().BoolVar(&w.wait, "wait", false, "until every live node has made it so")
	cmd.Flags().DurationVar(&w.waitTimeout, "wait-timeout", time.Minute, "how long --wait waits")
}

func (c *cli) applyCommand() *cobra.Command {
	var w write
	cmd := &cobra.Command{
		Use:     "apply -f FILE",
		Short:   "Merge the fields given into objects, and make those that are missing",
		GroupID: groupObjects,
		Args:    noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.write(cmd.Context(), &w, func(ctx context.Context, client weftv1.ResourcesClient, items []*weftv1.Resource) ([]*weftv1.Result, int64, error) {
				answer, err := client.Apply(ctx, &weftv1.ApplyRequest{Items: items, DryRun: bool(w.dry)})
				return answer.GetResults(), answer.GetRevision(), err
			})
		},
	}
	w.flags(cmd)
	return cmd
}

func (c *cli) replaceCommand() *cobra.Command {
	var w write
	cmd := &cobra.Command{
		Use:     "replace -f FILE",
		Short:   "Set the whole of objects; fields not given go back to their defaults",
		GroupID: groupObjects,
		Args:    noNames,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.write(cmd.Context(), &w, func(ctx context.Context, client weftv1.ResourcesClient, items []*weftv1.Resource) ([]*weftv1.Result, int64, error) {
				answer, err := client.Replace(ctx, &weftv1.ReplaceRequest{Items: items, DryRun: bool(w.dry)})
				return answer.GetResults(), answer.GetRevision(), err
			})
		},
	}
	w.flags(cmd)
	return cmd
}

func noNames(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("objects come from -f FILE, not from the command line")
	}
	return nil
}

type writer func(context.Context, weftv1.ResourcesClient, []*weftv1.Resource) ([]*weftv1.Result, int64, error)

func (c *cli) write(ctx context.Context, w *write, do writer) error {
	docs, err := w.read(c)
	if err != nil {
		return err
	}
	client, err := c.resources()
	if err != nil {
		return err
	}
	results, revision, err := do(ctx, client, resourcesOf(docs))
	if err != nil {
		return &refused{err, docs}
	}
	if err := c.printResults(&w.output, results, bool(w.dry)); err != nil || !w.wait || bool(w.dry) {
		return err
	}
	return c.await(ctx, client, revision, w.waitTimeout)
}

// printResults writes a line an object, as kubectl does, or the objects.
func (c *cli) printResults(o *output, results []*weftv1.Result, dry bool) error {
	var items []*weftv1.Resource
	for _, r := range results {
		item := r.GetAfter()
		if item == nil {
			item = r.GetBefore()
		}
		items = append(items, item)
	}
	if o.isData() || o.format == asName {
		return c.printResources(o, nil, items, len(items) == 1, false)
	}
	note := ""
	if dry {
		note = " (server dry run)"
	}
	for i, r := range results {
		if err := c.printf("%s %s%s\n", objectName(items[i]), r.GetVerb(), note); err != nil {
			return err
		}
	}
	return nil
}

// askedAgain is how often a wait asks who is still behind.
const askedAgain = 2 * time.Second

// await returns when every live node has made a revision so.
func (c *cli) await(ctx context.Context, client weftv1.ResourcesClient, revision int64, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		behind, err := c.behind(ctx, client, revision)
		if err != nil {
			return err
		}
		if len(behind) == 0 {
			c.tell("")
			return nil
		}
		if ctx.Err() != nil {
			c.tell("")
			return &exit{1, errors.New("written at revision " + number(revision) + ", but after " + limit.String() +
				" not made so on " + strings.Join(behind, ", ") + "; look: weft status")}
		}
		c.tell("waiting for %s", strings.Join(behind, ", "))
	}
}

// behind asks for at most askedAgain. A server that still waits then has not
// said for whom.
func (c *cli) behind(ctx context.Context, client weftv1.ResourcesClient, revision int64) ([]string, error) {
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), askedAgain)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	answer, err := client.WaitForRevision(ask, &weftv1.WaitForRevisionRequest{Revision: revision})
	switch status.Code(err) {
	case codes.OK:
		return answer.GetBehind(), nil
	case codes.DeadlineExceeded, codes.Canceled:
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return []string{"nodes that are not in step yet"}, nil
	}
	return nil, err
}
