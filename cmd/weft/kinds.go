package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// kinds is what the servers can be asked for, by every name that a person types.
type kinds struct {
	all    []*weftv1.Kind
	byName map[string]*weftv1.Kind // lower case
}

// known asks once which kinds there are.
func (c *cli) known(ctx context.Context) (*kinds, error) {
	if c.index != nil {
		return c.index, nil
	}
	client, err := c.resources()
	if err != nil {
		return nil, err
	}
	answer, err := client.ListKinds(ctx, &weftv1.ListKindsRequest{})
	if err != nil {
		return nil, err
	}
	k := &kinds{all: answer.GetKinds(), byName: map[string]*weftv1.Kind{}}
	for _, kind := range k.all {
		for _, name := range append([]string{kind.GetName(), kind.GetPlural()}, kind.GetShortNames()...) {
			k.byName[strings.ToLower(name)] = kind
		}
	}
	c.index = k
	return k, nil
}

// find resolves a name, plural or short name.
func (k *kinds) find(name string) (*weftv1.Kind, error) {
	if kind, ok := k.byName[strings.ToLower(name)]; ok {
		return kind, nil
	}
	var plurals []string
	for _, kind := range k.all {
		plurals = append(plurals, kind.GetPlural())
	}
	slices.Sort(plurals)
	return nil, fmt.Errorf("there is no kind %q; there are %s", name, strings.Join(plurals, ", "))
}

func (c *cli) kindsCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "api-resources",
		Short:   "List the kinds of object there are",
		GroupID: groupObjects,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.known(cmd.Context())
			if err != nil {
				return err
			}
			if o.isData() {
				return c.printMessage(&o, &weftv1.ListKindsResponse{Kinds: k.all})
			}
			t := table.Table{Titles: []string{"NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "WRITABLE", "KIND"}}
			for _, kind := range k.all {
				t.Add(kind.GetPlural(), strings.Join(kind.GetShortNames(), ","), apiVersion,
					fmt.Sprint(kind.GetNamespaced()), fmt.Sprint(kind.GetWritable()), kind.GetName())
			}
			return c.printTable(&o, &t)
		},
	}
	o.flags(cmd)
	return cmd
}

func (c *cli) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "explain KIND[.field]",
		Short:   "Document a kind and its fields",
		Example: "  weft explain clusterconfig\n  weft explain clusterconfig.spec.backend",
		GroupID: groupObjects,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, field, _ := strings.Cut(args[0], ".")
			k, err := c.known(cmd.Context())
			if err != nil {
				return err
			}
			kind, err := k.find(name)
			if err != nil {
				return err
			}
			return c.explain(kind, field)
		},
		ValidArgsFunction: c.completeKinds,
	}
}

func (c *cli) explain(kind *weftv1.Kind, field string) error {
	if top, _, _ := strings.Cut(field, "."); top == "status" || top == "metadata" {
		return c.printf("KIND:        %s\nFIELD:       %s\nDESCRIPTION: %s\n", kind.GetName(), top, topLevel[top])
	}
	field = strings.TrimPrefix(strings.TrimPrefix(field, "spec"), ".")
	t := table.Table{Titles: []string{"FIELD", "TYPE", "DEFAULT", "DESCRIPTION"}}
	var paths []string
	for _, f := range kind.GetFields() {
		path := strings.TrimPrefix(f.GetPath(), "spec.")
		paths = append(paths, "spec."+path)
		if field == "" || path == field || strings.HasPrefix(path, field+".") || strings.HasPrefix(path, field+"[") {
			t.Add("spec."+path, f.GetType(), f.GetDefaultValue(), table.Wrap(f.GetDescription(), c.wrapAt(60)))
		}
	}
	if field != "" && len(t.Rows) == 0 {
		return fmt.Errorf("%s has no field %q; it has %s", kind.GetName(), field, strings.Join(paths, ", "))
	}
	if err := c.printf("KIND:        %s\nVERSION:     %s\nDESCRIPTION: %s\n", kind.GetName(), apiVersion, kind.GetDescription()); err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return c.printf("\n%s", t.Text(false))
}

// topLevel documents what every kind has beside its spec.
var topLevel = map[string]string{
	"metadata": "name, namespace, labels and the revision of the last write; weft label changes labels",
	"status":   "what the servers have seen; nobody writes it; shown by weft describe and by weft get -o yaml",
}

// wrapAt is where text is broken: never, unless for a person at a terminal.
func (c *cli) wrapAt(width int) int {
	if c.width == 0 {
		return 0
	}
	return max(min(width, c.width/2), 20)
}
