package main

import (
	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) renameCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rename",
		Short:   "Give a node another name",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE:    subcommandNeeded,
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "node OLD NEW",
		Short: "Rename a node: identity, lease and pods stay; then start its agent with --node-name NEW",
		Long: "Rename a node. Its identity, lease, labels and pods stay, and its peers keep their routes. Then start\n" +
			"its agent with --node-name NEW, in the same data folder; until that its data path goes on as it is.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := c.dial()
			if err != nil {
				return err
			}
			answer, err := weftv1.NewNodesClient(conn).Rename(cmd.Context(), &weftv1.NodesRenameRequest{Node: args[0], Name: args[1]})
			if err != nil {
				return &refused{err: err}
			}
			return c.printf("node/%s renamed to %s (revision %d); now on the node: start weft-agent with --node-name %s\n", args[0], args[1], answer.GetRevision(), args[1])
		},
	})
	return cmd
}
