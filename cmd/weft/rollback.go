package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// oneObject reads KIND/NAME or KIND NAME.
func (c *cli) oneObject(ctx context.Context, args []string) (*weftv1.Kind, string, error) {
	targets, err := c.targets(ctx, args)
	if err != nil {
		return nil, "", err
	}
	if len(targets) != 1 || len(targets[0].names) != 1 {
		return nil, "", errors.New("name one object: KIND/NAME")
	}
	return targets[0].kind, targets[0].names[0], nil
}

func (c *cli) historyCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "history KIND/NAME",
		Short:   "What an object was before: its last ten versions, who wrote them and when",
		Example: "  weft history cc/default\n  weft history cc/default -o yaml",
		GroupID: groupObjects,
		Args:    needKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, err := c.oneObject(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.history(cmd.Context(), &o, kind, name)
		},
		ValidArgsFunction: c.completeObjects,
	}
	o.flags(cmd)
	return cmd
}

func (c *cli) history(ctx context.Context, o *output, kind *weftv1.Kind, name string) error {
	client, err := c.resources()
	if err != nil {
		return err
	}
	answer, err := client.History(ctx, &weftv1.HistoryRequest{Kind: kind.GetName(), Name: name})
	if err != nil {
		return err
	}
	if o.isData() {
		return c.printMessage(o, answer)
	}
	t := &table.Table{Titles: []string{"REVISION", "WRITTEN", "BY", "STATUS"}}
	for i, v := range answer.GetVersions() {
		state := ""
		switch {
		case i == 0 && v.GetDeleted():
			state = "the last before it was deleted"
		case i == 0:
			state = "now"
		case v.GetRevision() == 0:
			state = "of an epoch that is over"
		}
		written := "-"
		if v.GetWrittenUnix() > 0 {
			written = c.stamp(v.GetWrittenUnix() * 1000)
		}
		t.Add(fmt.Sprint(v.GetRevision()), written, orDash(v.GetBy()), state)
	}
	return c.printTable(o, t)
}

func (c *cli) rollbackCommand() *cobra.Command {
	var o output
	var dry dryRun
	var revision int64
	cmd := &cobra.Command{
		Use:     "rollback KIND/NAME --to-revision R",
		Short:   "Set an object to what it was at a revision",
		Example: "  weft history cc/default\n  weft rollback cc/default --to-revision 18398",
		GroupID: groupObjects,
		Args:    needKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, err := c.oneObject(cmd.Context(), args)
			if err != nil {
				return err
			}
			if revision <= 0 {
				return fmt.Errorf("to which revision? give --to-revision R; weft history %s/%s lists them", kind.GetPlural(), name)
			}
			client, err := c.resources()
			if err != nil {
				return err
			}
			answer, err := client.Rollback(cmd.Context(), &weftv1.RollbackRequest{Kind: kind.GetName(), Name: name, ToRevision: revision, DryRun: bool(dry)})
			if err != nil {
				return &refused{err: err}
			}
			return c.printResults(&o, []*weftv1.Result{answer.GetResult()}, bool(dry))
		},
		ValidArgsFunction: c.completeObjects,
	}
	o.flags(cmd)
	dry.flag(cmd)
	cmd.Flags().Int64Var(&revision, "to-revision", 0, "what it was at this revision of the fabric")
	return cmd
}

func (c *cli) confirmCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "confirm [ID]",
		Short:   "Keep what was applied with --confirm-within",
		GroupID: groupObjects,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.resources()
			if err != nil {
				return err
			}
			r := &weftv1.ConfirmRequest{}
			if len(args) > 0 {
				r.Id = args[0]
			}
			answer, err := client.Confirm(cmd.Context(), r)
			if err != nil {
				return err
			}
			for _, o := range answer.GetConfirmed().GetObjects() {
				if err := c.printf("%s confirmed\n", o); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// sayConfirm tells what must be done now, and by when.
func (c *cli) sayConfirm(w *weftv1.Confirmation) {
	if w == nil {
		return
	}
	until := time.Unix(w.GetDeadlineUnix(), 0)
	c.say("it is rolled back at %s (in %s), unless you: weft confirm %s", until.In(c.now().Location()).Format(time.TimeOnly), table.Age(until.Sub(c.now())), w.GetId())
}
