package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// maxFor bounds what is done for a while.
const maxFor = 24 * time.Hour

// whole reads a time that is sent in seconds.
func whole(flag string, d time.Duration) (uint32, error) {
	if d < time.Second || d > maxFor {
		return 0, fmt.Errorf("--%s %v: give from 1s to %v", flag, d, maxFor)
	}
	return uint32(d / time.Second), nil
}

// nodeName reads n1 or node/n1, after an optional word "node".
func nodeName(args []string) (string, error) {
	if len(args) == 2 && (args[0] == "node" || args[0] == "no" || args[0] == "nodes") {
		args = args[1:]
	}
	if len(args) != 1 {
		return "", fmt.Errorf("name one node: node/NAME")
	}
	return strings.TrimPrefix(strings.TrimPrefix(args[0], "node/"), "nodes/"), nil
}

func (c *cli) nodesClient() (weftv1.NodesClient, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	return weftv1.NewNodesClient(conn), nil
}

func (c *cli) agentClient() (weftv1.AgentClient, error) {
	conn, err := c.dialAgent()
	if err != nil {
		return nil, err
	}
	return weftv1.NewAgentClient(conn), nil
}

func (c *cli) pauseCommand() *cobra.Command {
	var d time.Duration
	var reason string
	var local bool
	cmd := &cobra.Command{
		Use:   "pause node NAME --for 10m",
		Short: "Stop healing on a node while a person works there",
		Long: "Stop healing on a node while a person works there: what is changed by hand stays. Pods come\n" +
			"and go as before, and what the fabric asks for is done. It ends by itself, also without a server.",
		Example: "  weft pause node n1 --for 10m --reason 'new switch'\n  weft pause --local --for 10m",
		GroupID: groupFabric,
		Args:    cobra.MaximumNArgs(2),
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
				answer, err := client.Pause(cmd.Context(), &weftv1.PauseRequest{ForSeconds: seconds, Reason: reason})
				if err != nil {
					return err
				}
				return c.sayPaused("this node", answer.GetPaused().GetUntilUnix())
			}
			name, err := nodeName(args)
			if err != nil {
				return err
			}
			client, err := c.nodesClient()
			if err != nil {
				return err
			}
			answer, err := client.Pause(cmd.Context(), &weftv1.NodesPauseRequest{Node: name, ForSeconds: seconds, Reason: reason})
			if err != nil {
				return err
			}
			return c.sayPaused("node/"+name, answer.GetUntilUnix())
		},
	}
	cmd.Flags().DurationVar(&d, "for", 10*time.Minute, "how long, 1s to 24h")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at status and events")
	cmd.Flags().BoolVar(&local, "local", false, "this node, by its agent's socket: needs no server")
	return cmd
}

func (c *cli) sayPaused(what string, until int64) error {
	return c.printf("%s is not healed until %s; weft resume ends it\n", what, time.Unix(until, 0).In(c.now().Location()).Format(time.TimeOnly))
}

func (c *cli) resumeCommand() *cobra.Command {
	var local bool
	cmd := &cobra.Command{
		Use:     "resume node NAME",
		Short:   "End a pause: heal the node again",
		GroupID: groupFabric,
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			what, paused := "this node", false
			if local {
				client, err := c.agentClient()
				if err != nil {
					return err
				}
				answer, err := client.Resume(cmd.Context(), &weftv1.ResumeRequest{})
				if err != nil {
					return err
				}
				paused = answer.GetWas() != nil
			} else {
				name, err := nodeName(args)
				if err != nil {
					return err
				}
				client, err := c.nodesClient()
				if err != nil {
					return err
				}
				answer, err := client.Resume(cmd.Context(), &weftv1.NodesResumeRequest{Node: name})
				if err != nil {
					return err
				}
				what, paused = "node/"+name, answer.GetPaused()
			}
			if !paused {
				return c.printf("%s was not paused\n", what)
			}
			return c.printf("%s is healed again\n", what)
		},
	}
	cmd.Flags().BoolVar(&local, "local", false, "this node, by its agent's socket: needs no server")
	return cmd
}
