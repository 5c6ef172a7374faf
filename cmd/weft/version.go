package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) versionCommand() *cobra.Command {
	var clientOnly bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Releases of this tool and of the servers",
		GroupID: groupTool,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.printf("client  %s  %s %s/%s\n", note.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH); err != nil || clientOnly {
				return err
			}
			conn, err := c.dial()
			if err != nil {
				return err
			}
			answer, err := weftv1.NewStatusClient(conn).Get(cmd.Context(), &weftv1.StatusGetRequest{})
			if err != nil {
				return err
			}
			for _, s := range answer.GetServers() {
				if err := c.printf("server  %s  %s %s\n", orDash(s.GetVersion()), s.GetName(), s.GetAddress()); err != nil {
					return err
				}
			}
			if len(answer.GetServers()) == 0 {
				return fmt.Errorf("%s names no server", c.asked())
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "ask no server")
	return cmd
}
