package main

import (
	"context"
	"errors"
	"fmt"
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
	confirm     time.Duration // apply only; 0: it stays
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
				r := &weftv1.ApplyRequest{Items: items, DryRun: bool(w.dry)}
				if w.confirm != 0 {
					var err error
					if r.ConfirmWithinSeconds, err = whole("confirm-within", w.confirm); err != nil {
						return nil, 0, err
					}
				}
				answer, err := client.Apply(ctx, r)
				c.sayConfirm(answer.GetConfirmation())
				return answer.GetResults(), answer.GetRevision(), err
			})
		},
	}
	w.flags(cmd)
	cmd.Flags().DurationVar(&w.confirm, "confirm-within", 0, "roll it back after this time, unless weft confirm comes before")
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

// How long one question of a wait takes at most, and the pause before the next.
const (
	askFor   = 2 * time.Second
	askPause = 200 * time.Millisecond
)

// await returns when every live node has made a revision so.
func (c *cli) await(ctx context.Context, client weftv1.ResourcesClient, revision int64, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer c.tell("")
	for {
		behind, err := behind(ctx, client, revision)
		if err != nil || len(behind) == 0 {
			return err
		}
		c.tell("waiting for %s", strings.Join(behind, ", "))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limited.Done():
			return fmt.Errorf("written at revision %d, but after %v not made so on %s; look: weft status",
				revision, limit, strings.Join(behind, ", "))
		case <-time.After(askPause):
		}
	}
}

// behind asks who is. A server that waits itself has not said for whom.
func behind(ctx context.Context, client weftv1.ResourcesClient, revision int64) ([]string, error) {
	ask, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	answer, err := client.WaitForRevision(ask, &weftv1.WaitForRevisionRequest{Revision: revision})
	if status.Code(err) == codes.DeadlineExceeded && ctx.Err() == nil {
		return []string{"nodes that are not in step yet"}, nil
	}
	return answer.GetBehind(), err
}
