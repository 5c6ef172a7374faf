package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/front"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// anyNode has the servers' routes say whose agent dials.
const anyNode = "-"

func (c *cli) dialCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dial NODE HOST:PORT",
		Short: "Connect standard input and output to a target, by way of a node",
		Long: "Connects standard input and output to HOST:PORT, which the agent of NODE dials: through its\n" +
			"tunnel, so that a node behind NAT is reached too. A name is resolved on that node. Each direction\n" +
			"ends by itself. NODE - leaves it to the servers which node dials.\n\n" +
			"Without an EgressPolicy that says otherwise these are the node's pods, services, and the ports that\n" +
			"the node declares; ssh's is not among them: weft explain egresspolicy.",
		Example: "  ssh -o ProxyCommand='weft dial n1 %h:%p' 10.0.0.11\n  weft dial n1 10.42.1.14:5432 < query",
		GroupID: groupFabric,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, target := args[0], args[1]
			if err := parseTarget(target); err != nil {
				return err
			}
			if node == anyNode {
				node = ""
			}
			dialer, err := c.front()
			if err != nil {
				return err
			}
			conn, err := dialer.Dial(cmd.Context(), node, target)
			if err != nil {
				return c.explainDial(target, err)
			}
			return c.converse(cmd.Context(), conn, target)
		},
		ValidArgsFunction: c.completeNode,
	}
}

// converse carries standard input and output until both directions have ended.
func (c *cli) converse(ctx context.Context, conn front.Conn, target string) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sent := make(chan error, 1)
	go func() { // a read of a terminal cannot be ended: it may outlive this function
		_, err := io.Copy(conn, c.in)
		sent <- errors.Join(err, conn.CloseWrite())
	}()
	_, err := io.Copy(c.out, conn)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: the connection was cut: %w", target, err)
	}
	if out, ok := c.out.(io.Closer); ok {
		_ = out.Close() // whoever reads it hears the end
	}
	select {
	case <-sent: // to whom said all and may have gone
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// completeNode offers nodes' names as the first word.
func (c *cli) completeNode(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeObjects(cmd, []string{"node"}, prefix)
}

// tunnelsOf asks for tunnels; of a node, or of all.
func (c *cli) tunnelsOf(ctx context.Context, node string) (*weftv1.ListTunnelsResponse, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	return weftv1.NewEgressClient(conn).ListTunnels(ctx, &weftv1.ListTunnelsRequest{Node: node})
}
