package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const defaultNamespace = "default"

// selection says which objects of a kind are meant.
type selection struct {
	namespace string
	all       bool // of all namespaces
	selector  string
	progress  bool   // a watch tells of nodes' progress too
	sort      string // path of the field that orders them; empty: by name
}

func (s *selection) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.namespace, "namespace", "n", "", "of this namespace (default: of all)")
	cmd.Flags().BoolVarP(&s.all, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().StringVarP(&s.selector, "selector", "l", "", "with these labels: app=web,tier in (a,b),!old")
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
}

// target is a kind with the names asked for; no names mean all.
type target struct {
	kind  *weftv1.Kind
	names []string
}

func (c *cli) getCommand() *cobra.Command {
	var o output
	var s selection
	var watch bool
	cmd := &cobra.Command{
		Use:     "get KIND [NAME...] | KIND/NAME...",
		Short:   "Show objects",
		Example: "  weft get nodes -o wide\n  weft get tunnels\n  weft get clusterconfig/default -o yaml\n  weft get nodes -o jsonpath='{.items[*].metadata.name}'",
		GroupID: groupObjects,
		Args:    needKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			if isTunnels(args) {
				return c.getTunnels(cmd.Context(), &o, s, watch, args)
			}
			targets, err := c.targets(cmd.Context(), args)
			if err != nil {
				return err
			}
			if watch {
				return c.follow(cmd.Context(), &o, s, targets)
			}
			return c.get(cmd.Context(), &o, s, targets)
		},
		ValidArgsFunction: c.completeObjects,
	}
	o.flags(cmd)
	s.flags(cmd)
	cmd.Flags().StringVar(&s.sort, "sort-by", "", "in the order of a field, such as .metadata.createdUnix or '{.status.state}'")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on with every change")
	cmd.Flags().BoolVar(&o.labels, "show-labels", false, "a column of labels")
	return cmd
}

func needKind(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("which kind? write: weft %s KIND; weft api-resources lists the kinds", cmd.Name())
	}
	return nil
}

// targets reads KIND NAME…, KIND,KIND or KIND/NAME….
func (c *cli) targets(ctx context.Context, args []string) ([]target, error) {
	k, err := c.known(ctx)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(args[0], "/") {
		var out []target
		if args[0] == "all" && len(args) == 1 {
			for _, kind := range k.all {
				out = append(out, target{kind: kind})
			}
			return out, nil
		}
		for name := range strings.SplitSeq(args[0], ",") {
			kind, err := k.find(name)
			if err != nil {
				return nil, err
			}
			out = append(out, target{kind, args[1:]})
		}
		return out, nil
	}
	var out []target
	for _, arg := range args {
		kindName, name, ok := strings.Cut(arg, "/")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q: after KIND/NAME all must be KIND/NAME", arg)
		}
		kind, err := k.find(kindName)
		if err != nil {
			return nil, err
		}
		if n := len(out); n > 0 && out[n-1].kind == kind {
			out[n-1].names = append(out[n-1].names, name)
			continue
		}
		out = append(out, target{kind, []string{name}})
	}
	return out, nil
}

func (c *cli) get(ctx context.Context, o *output, s selection, targets []target) error {
	if o.isData() && len(targets) > 1 {
		return c.getTogether(ctx, o, s, targets)
	}
	for i, t := range targets {
		items, err := c.fetch(ctx, s, t)
		if err == nil && s.sort != "" {
			err = sortBy(items, s.sort)
		}
		if err != nil {
			return err
		}
		if len(items) == 0 && !o.isData() {
			c.sayNone(t, s)
			continue
		}
		if i > 0 && o.format != asName {
			if err := c.printf("\n"); err != nil {
				return err
			}
		}
		if err := c.printResources(o, t.kind, items, len(t.names) == 1, t.kind.GetNamespaced() && s.namespace == ""); err != nil {
			return err
		}
	}
	return nil
}

// getTogether writes objects of several kinds as one List.
func (c *cli) getTogether(ctx context.Context, o *output, s selection, targets []target) error {
	var all []*weftv1.Resource
	for _, t := range targets {
		items, err := c.fetch(ctx, s, t)
		if err != nil {
			return err
		}
		all = append(all, items...)
	}
	return c.printResources(o, nil, all, false, false)
}

func (c *cli) sayNone(t target, s selection) {
	switch {
	case s.selector != "":
		c.say("no %s with labels %s", t.kind.GetPlural(), s.selector)
	case s.namespace != "":
		c.say("no %s in namespace %s", t.kind.GetPlural(), s.namespace)
	default:
		c.say("no %s", t.kind.GetPlural())
	}
}

// fetch lists objects, or gets those named. A name without a namespace is
// looked for in all, and an endpoint also by its pod.
func (c *cli) fetch(ctx context.Context, s selection, t target) ([]*weftv1.Resource, error) {
	client, err := c.resources()
	if err != nil {
		return nil, err
	}
	if len(t.names) > 0 && s.selector != "" {
		return nil, fmt.Errorf("names and -l %s together: give one of them", s.selector)
	}
	direct := len(t.names) > 0 && (!t.kind.GetNamespaced() || s.namespace != "") && t.kind.GetName() != endpointKind
	if !direct {
		answer, err := client.List(ctx, &weftv1.ListRequest{Kind: t.kind.GetName(), Namespace: s.namespace, Selector: s.selector})
		if err != nil || len(t.names) == 0 {
			return answer.GetItems(), err
		}
		return named(t, answer.GetItems())
	}
	var out []*weftv1.Resource
	for _, name := range t.names {
		answer, err := client.Get(ctx, &weftv1.GetRequest{Kind: t.kind.GetName(), Namespace: s.namespace, Name: name})
		if status.Code(err) == codes.NotFound {
			return nil, notThere(t.kind, name)
		} else if err != nil {
			return nil, err
		}
		out = append(out, answer.GetItem())
	}
	return out, nil
}

func named(t target, items []*weftv1.Resource) ([]*weftv1.Resource, error) {
	var out []*weftv1.Resource
	for _, name := range t.names {
		found := false
		for _, r := range items {
			if r.GetMetadata().GetName() == name {
				out, found = append(out, r), true
			}
		}
		if !found {
			r, err := ofPod(t, items, name)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
	}
	return out, nil
}

const endpointKind = "Endpoint"

// ofPod finds an endpoint by the name of its pod, which is what people know.
func ofPod(t target, items []*weftv1.Resource, pod string) (*weftv1.Resource, error) {
	var found []*weftv1.Resource
	for _, r := range items {
		if v := r.GetSpec().GetFields()["pod"]; t.kind.GetName() == endpointKind && v.GetStringValue() == pod {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return nil, notThere(t.kind, pod)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, r := range found {
		names = append(names, r.GetMetadata().GetName())
	}
	return nil, fmt.Errorf("%d endpoints are of a pod %q: name one of %s, or give its namespace with -n", len(found), pod, strings.Join(names, ", "))
}

func notThere(kind *weftv1.Kind, name string) error {
	return fmt.Errorf("there is no %s %q; weft get %s lists what there is", kind.GetName(), name, kind.GetPlural())
}
