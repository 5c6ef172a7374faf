package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "server",
		Short:   "The servers of the fabric: who is there, who leads, take one out",
		GroupID: groupFabric,
		Args:    unknownCommand,
		RunE:    subcommandNeeded,
	}
	cmd.AddCommand(c.serverListCommand(), c.serverRemoveCommand())
	return cmd
}

func (c *cli) serverListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "Every server: the running, the stopped and the lost",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := c.dial()
			if err != nil {
				return err
			}
			answer, err := weftv1.NewMembersClient(conn).List(cmd.Context(), &weftv1.MembersListRequest{})
			if err != nil {
				return err
			}
			if o.isData() {
				return c.printMessage(&o, answer)
			}
			if since := answer.GetSilentSinceUnix(); since != 0 {
				c.say("the store answers nobody since %s: these states are what server %s sees itself; ages and versions are of then", table.Since(since, c.now()), answer.GetServer())
			}
			return c.printTable(&o, serverTable(c, answer.GetServers()))
		},
	}
	o.flags(cmd)
	return cmd
}

func serverTable(c *cli, servers []*weftv1.ServerStatus) *table.Table {
	t := &table.Table{Titles: []string{"NAME", "STATUS", "ROLE", "ADDRESS", "SINCE", "VERSION", "ETCD"}}
	for _, s := range servers {
		role := "-"
		if s.GetLeader() {
			role = "leader"
		}
		t.Add(s.GetName(), orDash(s.GetState()), role, orDash(s.GetAddress()), table.Since(s.GetSinceUnix(), c.now()), orDash(s.GetVersion()), orDash(s.GetPeerUrl()))
	}
	return t
}

func (c *cli) serverRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a server out of the fabric",
		Long: "Take a server out of the fabric, and its member out of the embedded etcd. It is refused when\n" +
			"those that are left would have no quorum. A removed server that starts again says so.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.removeServer(cmd.Context(), args[0]) },
	}
}

func (c *cli) removeServer(ctx context.Context, name string) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	if _, err := weftv1.NewMembersClient(conn).Remove(ctx, &weftv1.MembersRemoveRequest{Name: name}); err != nil {
		return err
	}
	return c.print([]byte(fmt.Sprintf("server/%s removed\n", name)))
}
