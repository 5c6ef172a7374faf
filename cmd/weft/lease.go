package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/types/known/structpb"
)

func (c *cli) whoOwnsCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "who-owns ADDRESS",
		Short:   "Which node, and which pod, an address belongs to",
		GroupID: groupFabric,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := netip.ParseAddr(args[0])
			if err != nil {
				return fmt.Errorf("%q is not an IPv4 or IPv6 address", args[0])
			}
			conn, err := c.dial()
			if err != nil {
				return err
			}
			answer, err := weftv1.NewLeasesClient(conn).WhoOwns(cmd.Context(), &weftv1.WhoOwnsRequest{Address: addr.String()})
			if err != nil {
				return err
			}
			if o.isData() {
				return c.printMessage(&o, answer)
			}
			return c.printf("%s", owner(addr, answer))
		},
	}
	o.flags(cmd)
	return cmd
}

func owner(addr netip.Addr, a *weftv1.WhoOwnsResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v  node %s, lease %s\n", addr, a.GetNode(), a.GetPrefix())
	e := a.GetEndpoint()
	if e == nil {
		return b.String()
	}
	pod := e.GetPod()
	if e.GetNamespace() != "" {
		pod = e.GetNamespace() + "/" + pod
	}
	fmt.Fprintf(&b, "pod  %s  device %s  mac %s\n", orDash(pod), orDash(e.GetDevice()), orDash(e.GetMac()))
	fmt.Fprintf(&b, "key  %s\n", e.GetKey())
	return b.String()
}

func (c *cli) reserveCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "reserve NODE PREFIX...",
		Short:   "Give a node its prefixes before it joins, one a family",
		Example: "  weft reserve n7 10.42.7.0/24 fd42:42:0:7::/64",
		GroupID: groupFabric,
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, p := range args[1:] {
				if prefix, err := netip.ParsePrefix(p); err != nil {
					return fmt.Errorf("%q is not a prefix such as 10.42.7.0/24", p)
				} else if prefix != prefix.Masked() {
					return fmt.Errorf("%s has bits below its length; did you mean %v?", p, prefix.Masked())
				}
			}
			conn, err := c.dial()
			if err != nil {
				return err
			}
			answer, err := weftv1.NewLeasesClient(conn).Reserve(cmd.Context(), &weftv1.ReserveRequest{Node: args[0], Prefixes: args[1:]})
			if err != nil {
				return &refused{err: err}
			}
			c.sayOtherMasks(cmd.Context(), answer.GetLease().GetPrefixes())
			if o.isData() {
				return c.printMessage(&o, answer)
			}
			return c.printf("lease/%s reserved: %s\n", answer.GetLease().GetNode(), strings.Join(answer.GetLease().GetPrefixes(), ", "))
		},
	}
	o.flags(cmd)
	return cmd
}

// sayOtherMasks tells of prefixes of another length than the cluster's nodes get.
// That is allowed, and more often a slip.
func (c *cli) sayOtherMasks(ctx context.Context, prefixes []string) {
	client, err := c.resources()
	if err != nil {
		return
	}
	config, err := client.Get(ctx, &weftv1.GetRequest{Kind: "ClusterConfig", Name: "default"})
	if err != nil {
		return // the reservation stands all the same
	}
	for _, line := range otherMasks(config.GetItem().GetSpec(), prefixes) {
		c.say("%s", line)
	}
}

func otherMasks(spec *structpb.Struct, prefixes []string) []string {
	var out []string
	for _, text := range prefixes {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		field := "nodeCIDRMaskSizeIPv6"
		if p.Addr().Is4() {
			field = "nodeCIDRMaskSizeIPv4"
		}
		if usual := int(spec.GetFields()[field].GetNumberValue()); usual != 0 && usual != p.Bits() {
			out = append(out, fmt.Sprintf("note: %v is a /%d; other nodes get a /%d (%s)", p, p.Bits(), usual, field))
		}
	}
	return out
}
