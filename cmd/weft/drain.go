package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/types/known/structpb"
)

// drain takes prefixes of leases out of use.
type drain struct {
	output
	dry    dryRun
	prefix []string
	family string
	undo   bool
}

func (c *cli) drainCommand() *cobra.Command {
	var d drain
	cmd := &cobra.Command{
		Use:   "drain lease NODE...",
		Short: "Free a node's prefixes: pods that start get addresses of others, and an empty one is given back",
		Long: "Free a node's prefixes. Pods that start get addresses of another prefix, which the node is given first where it\n" +
			"has none. Pods that run keep theirs; the prefix is given back when the last of them is gone. Fabric addresses\n" +
			"are those of a node's first prefixes, and go with them.",
		Example: "  weft drain lease n17 n18\n  weft drain lease n17 --prefix 10.42.17.0/24\n  weft drain lease n17 --undo",
		GroupID: groupFabric,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 || !slices.Contains([]string{"lease", "leases", "ls"}, args[0]) {
				return errors.New("write: weft drain lease NODE, with the nodes whose leases are to be freed")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.drain(cmd.Context(), &d, args[1:]) },
	}
	d.output.flags(cmd)
	d.dry.flag(cmd)
	cmd.Flags().StringSliceVar(&d.prefix, "prefix", nil, "only these prefixes of the lease")
	cmd.Flags().StringVar(&d.family, "family", "", "only prefixes of this family: ipv4 or ipv6")
	cmd.Flags().BoolVar(&d.undo, "undo", false, "use what drains again")
	return cmd
}

// drain changes all leases in one request, on condition that nobody changed them
// meanwhile.
func (c *cli) drain(ctx context.Context, d *drain, nodes []string) error {
	if d.family != "" && d.family != "ipv4" && d.family != "ipv6" {
		return fmt.Errorf("--family %q: accepted are ipv4 and ipv6", d.family)
	}
	client, err := c.resources()
	if err != nil {
		return err
	}
	var items []*weftv1.Resource
	for _, node := range nodes {
		got, err := client.Get(ctx, &weftv1.GetRequest{Kind: "Lease", Name: node})
		if err != nil {
			return err
		}
		r := got.GetItem()
		if err := d.change(r); err != nil {
			return fmt.Errorf("lease/%s: %w", node, err)
		}
		r.Status = nil
		items = append(items, r)
	}
	answer, err := client.Replace(ctx, &weftv1.ReplaceRequest{Items: items, DryRun: bool(d.dry)})
	if err != nil {
		return &refused{err: err}
	}
	if d.isData() {
		return c.printResults(&d.output, answer.GetResults(), bool(d.dry))
	}
	for _, r := range answer.GetResults() {
		if err := c.printf("%s%s\n", told(r), drySuffix(d.dry)); err != nil {
			return err
		}
	}
	return nil
}

func drySuffix(dry dryRun) string {
	if dry {
		return " (server dry run)"
	}
	return ""
}

// change sets what drains in a Lease.
func (d *drain) change(r *weftv1.Resource) error {
	spec := r.GetSpec().GetFields()
	have, was := list(spec["prefixes"]), list(spec["draining"])
	var picked []string
	for _, text := range have {
		p, err := netip.ParsePrefix(text)
		if err == nil && (d.family == "" || (d.family == "ipv4") == p.Addr().Is4()) && (len(d.prefix) == 0 || slices.Contains(d.prefix, text)) {
			picked = append(picked, text)
		}
	}
	for _, p := range d.prefix {
		if !slices.Contains(have, p) {
			return fmt.Errorf("has no prefix %s; it has %s", p, strings.Join(have, ", "))
		}
	}
	if len(picked) == 0 {
		return fmt.Errorf("has no such prefix; it has %s", strings.Join(have, ", "))
	}
	now := slices.DeleteFunc(slices.Clone(was), func(p string) bool { return slices.Contains(picked, p) })
	if !d.undo {
		now = append(now, picked...)
	}
	out := &structpb.ListValue{}
	for _, p := range now {
		out.Values = append(out.Values, structpb.NewStringValue(p))
	}
	spec["draining"] = structpb.NewListValue(out)
	return nil
}

// told says what becomes of a lease.
func told(r *weftv1.Result) string {
	name := "lease/" + r.GetAfter().GetMetadata().GetName()
	draining := list(r.GetAfter().GetSpec().GetFields()["draining"])
	if len(draining) == 0 {
		return name + " drains nothing"
	}
	return fmt.Sprintf("%s drains %s: given back when its pods are gone (weft get leases %s -o wide)",
		name, strings.Join(draining, ", "), r.GetAfter().GetMetadata().GetName())
}

func list(v *structpb.Value) []string {
	var out []string
	for _, item := range v.GetListValue().GetValues() {
		out = append(out, item.GetStringValue())
	}
	return out
}
