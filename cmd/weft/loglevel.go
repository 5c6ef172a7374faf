package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// process reads node/n1 or server/s1.
func process(arg string) (node, server string, err error) {
	kind, name, ok := strings.Cut(arg, "/")
	switch {
	case ok && name != "" && (kind == "node" || kind == "no" || kind == "nodes"):
		return name, "", nil
	case ok && name != "" && (kind == "server" || kind == "servers"):
		return "", name, nil
	}
	return "", "", fmt.Errorf("%q: name a process, node/NAME or server/NAME", arg)
}

func (c *cli) logLevelCommand() *cobra.Command {
	var d time.Duration
	var local bool
	cmd := &cobra.Command{
		Use:     "log-level node/NAME|server/NAME LEVEL",
		Short:   "Change what a process logs, for a while: debug, info, warn, error",
		Example: "  weft log-level node/n1 debug --for 10m\n  weft log-level --local debug",
		GroupID: groupFabric,
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds, err := whole("for", d)
			if err != nil {
				return err
			}
			if local {
				client, err := c.agentClient()
				if err != nil {
					return err
				}
				answer, err := client.SetLogLevel(cmd.Context(), &weftv1.SetLogLevelRequest{Level: args[len(args)-1], ForSeconds: seconds})
				if err != nil {
					return err
				}
				return c.sayLevel("this node", answer)
			}
			if len(args) != 2 {
				return fmt.Errorf("of which process? write: weft log-level node/NAME %s", args[0])
			}
			node, server, err := process(args[0])
			if err != nil {
				return err
			}
			conn, err := c.dialFor(cmd.Context(), server)
			if err != nil {
				return err
			}
			answer, err := weftv1.NewDiagnoseClient(conn).SetLogLevel(cmd.Context(), &weftv1.DiagnoseSetLogLevelRequest{Node: node, Server: server, Level: args[1], ForSeconds: seconds})
			if err != nil {
				return err
			}
			return c.sayLevel(args[0], answer.GetLevel())
		},
	}
	cmd.Flags().DurationVar(&d, "for", 10*time.Minute, "how long, 1s to 24h; then it goes back by itself")
	cmd.Flags().BoolVar(&local, "local", false, "this node's agent, by its socket: needs no server")
	return cmd
}

func (c *cli) sayLevel(what string, l *weftv1.SetLogLevelResponse) error {
	return c.printf("%s logs %s until %s, then %s again\n", what, l.GetLevel(),
		time.Unix(l.GetUntilUnix(), 0).In(c.now().Location()).Format(time.TimeOnly), l.GetBefore())
}
