package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) versionCommand() *cobra.Command {
	var clientOnly bool
	var o output
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Releases of this tool and of the servers",
		GroupID: groupTool,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.isData() {
				return c.versionData(cmd.Context(), &o, clientOnly)
			}
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
				if err := c.printf("server  %s  %s %s\n", orDash(s.GetVersion()), s.GetName(), orDash(s.GetAddress())); err != nil {
					return err
				}
			}
			if len(answer.GetServers()) == 0 {
				return fmt.Errorf("%s names no server", c.asked())
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&clientOnly, "client", false, "ask no server")
	return cmd
}

// versions is version as data, its client's part as kubectl's.
type versions struct {
	Client  clientVersion   `json:"clientVersion"`
	Servers []serverVersion `json:"servers,omitempty"`
}

type clientVersion struct {
	Version   string `json:"version"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

type serverVersion struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Version string `json:"version"`
}

func (c *cli) versionData(ctx context.Context, o *output, clientOnly bool) error {
	v := versions{Client: clientVersion{note.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}}
	if !clientOnly {
		conn, err := c.dial()
		if err != nil {
			return err
		}
		answer, err := weftv1.NewStatusClient(conn).Get(ctx, &weftv1.StatusGetRequest{})
		if err != nil {
			return err
		}
		for _, s := range answer.GetServers() {
			v.Servers = append(v.Servers, serverVersion{s.GetName(), s.GetAddress(), s.GetVersion()})
		}
	}
	return c.printData(o, v)
}
