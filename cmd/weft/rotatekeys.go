package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) rotateKeysCommand() *cobra.Command {
	var o output
	var local bool
	cmd := &cobra.Command{
		Use:   "keys [NODE...]",
		Short: "Have nodes change their WireGuard keys; nothing is cut",
		Long: "Have nodes change their WireGuard keys, all of them or those that are named. A node makes the new key in\n" +
			"its other slot, a second device and port; each pair moves when the new tunnel is proved, and the old\n" +
			"key goes when the last has. No packet is lost. ClusterConfig keyDays does so by itself.",
		Example: "  weft rotate keys\n  weft rotate keys n7\n  weft mesh explain n1 n7",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case local && len(args) > 0:
				return errors.New("--local is about this node; name no other")
			case local:
				return c.rotateKeysHere(cmd.Context())
			}
			return c.rotateKeys(cmd.Context(), &o, args)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return c.completeObjects(cmd, append([]string{"node"}, args...), prefix)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&local, "local", false, "this node, by its agent")
	return cmd
}

func (c *cli) rotateKeysHere(ctx context.Context) error {
	client, err := c.agentClient()
	if err != nil {
		return err
	}
	r, err := client.RotateKeys(ctx, &weftv1.RotateKeysRequest{})
	if err != nil {
		return err
	}
	return c.printf("this node: %s\n", rotatedText(r))
}

func (c *cli) rotateKeys(ctx context.Context, o *output, nodes []string) error {
	request := &weftv1.MeshRotateKeysRequest{}
	for _, n := range nodes {
		name, err := nodeName([]string{n})
		if err != nil {
			return err
		}
		request.Nodes = append(request.Nodes, name)
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := weftv1.NewMeshClient(conn).RotateKeys(ctx, request)
	if err != nil {
		return &refused{err: err}
	}
	failed := 0
	t := table.Table{Titles: []string{"NODE", "KEY", "SLOT", "PAIRS", "RESULT"}}
	for _, k := range answer.GetRotations() {
		if b := k.GetBegun(); b != nil {
			t.Add(k.GetNode(), b.GetPublicKey(), fmt.Sprint(b.GetSlot()), fmt.Sprint(b.GetPairs()), "begun")
			continue
		}
		failed++
		t.Add(k.GetNode(), "-", "-", "-", k.GetError())
	}
	if o.isData() {
		err = c.printMessage(o, answer)
	} else {
		err = c.printTable(o, &t)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %s did not begin", failed, count(len(answer.GetRotations()), "node"))
	}
	return err
}

func rotatedText(r *weftv1.RotateKeysResponse) string {
	return fmt.Sprintf("new key %s in slot %d; %s to move", r.GetPublicKey(), r.GetSlot(), count(int(r.GetPairs()), "pair"))
}
