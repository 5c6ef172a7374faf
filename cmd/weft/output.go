package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	"github.com/weft-net/weft/cmd/weft/internal/jsonpath"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

const apiVersion = document.APIVersion

// output is how an answer is written.
type output struct {
	format    format
	template  jsonpath.Template
	columns   []*weftv1.Column // of custom-columns
	noHeaders bool
	labels    bool // a column of labels
}

type format string

const (
	asTable format = "table"
	asWide  format = "wide"
	asJSON  format = "json"
	asYAML  format = "yaml"
	asName  format = "name"
	asPath  format = "jsonpath"
)

var formats = []format{asTable, asWide, asJSON, asYAML, asName}

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().VarP(o, "output", "o", "table, wide, json, yaml, name, jsonpath='{.metadata.name}', or custom-columns=NAME:.metadata.name,…")
	cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "no titles above a table")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "wide", "json", "yaml", "name", "jsonpath=", "custom-columns="}, cobra.ShellCompDirectiveNoFileComp))
}

// String implements pflag.Value.
func (o *output) String() string { return string(o.format) }

// Type implements pflag.Value.
func (o *output) Type() string { return "format" }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	if text, ok := strings.CutPrefix(s, "jsonpath="); ok {
		t, err := jsonpath.Parse(text)
		if err != nil {
			return err
		}
		o.format, o.template = asPath, t
		return nil
	}
	if text, ok := strings.CutPrefix(s, "custom-columns="); ok {
		columns, err := parseColumns(text)
		o.format, o.columns = asTable, columns
		return err
	}
	if !slices.Contains(formats, format(s)) {
		return fmt.Errorf("unknown format %q; there are table, wide, json, yaml, name, jsonpath=…, custom-columns=…", s)
	}
	o.format = format(s)
	return nil
}

// isData tells whether the answer is for a program.
func (o *output) isData() bool {
	return o.format == asJSON || o.format == asYAML || o.format == asPath
}

// printData writes a value for a program.
func (c *cli) printData(o *output, v any) error {
	switch o.format {
	case asYAML:
		b, err := document.YAML(v)
		if err != nil {
			return err
		}
		return c.print(b)
	case asPath:
		tree, err := document.Tree(v)
		if err != nil {
			return err
		}
		return c.printf("%s", o.template.Text(tree))
	}
	b, err := document.JSON(v)
	if err != nil {
		return err
	}
	return c.print(b)
}

// printMessage writes a service's answer for a program.
func (c *cli) printMessage(o *output, m proto.Message) error {
	v, err := document.Message(m)
	if err != nil {
		return err
	}
	return c.printData(o, v)
}

func (c *cli) printTable(o *output, t *table.Table) error {
	if t.Paint == nil && c.colours {
		t.Paint = c.paintCell
	}
	return c.printf("%s", t.Text(o.noHeaders))
}

// printResources writes objects of one kind; one says that a single object was
// asked for by name.
func (c *cli) printResources(o *output, kind *weftv1.Kind, items []*weftv1.Resource, one, namespaces bool) error {
	switch {
	case o.isData() && one && len(items) == 1:
		return c.printData(o, document.Of(items[0]))
	case o.isData():
		return c.printData(o, document.ListOf(items))
	case o.format == asName:
		for _, r := range items {
			if err := c.printf("%s\n", objectName(r)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(items) == 0 {
		return nil
	}
	if o.columns != nil {
		kind, namespaces = &weftv1.Kind{Name: kind.GetName(), Columns: o.columns}, false
	}
	t, err := c.objectTable(o, kind, items, namespaces)
	if err != nil {
		return err
	}
	return c.printTable(o, t)
}

// objectName is kind/name as kubectl's -o name writes it.
func objectName(r *weftv1.Resource) string {
	return strings.ToLower(r.GetKind()) + "/" + r.GetMetadata().GetName()
}

// objectTable makes rows by the kind's columns.
func (c *cli) objectTable(o *output, kind *weftv1.Kind, items []*weftv1.Resource, namespaces bool) (*table.Table, error) {
	t := &table.Table{}
	if namespaces {
		t.Titles = append(t.Titles, "NAMESPACE")
	}
	var paths []jsonpath.Path
	var columns []*weftv1.Column
	for _, col := range kind.GetColumns() {
		if col.GetWide() && o.format != asWide {
			continue
		}
		p, err := jsonpath.ParsePath(col.GetPath())
		if err != nil {
			return nil, fmt.Errorf("column %s of %s: %w", col.GetTitle(), kind.GetName(), err)
		}
		paths, columns = append(paths, p), append(columns, col)
		t.Titles = append(t.Titles, col.GetTitle())
	}
	if o.labels {
		t.Titles = append(t.Titles, "LABELS")
	}
	for _, r := range items {
		tree, err := document.Tree(document.Of(r))
		if err != nil {
			return nil, err
		}
		var row []string
		if namespaces {
			row = append(row, r.GetMetadata().GetNamespace())
		}
		for i, p := range paths {
			row = append(row, c.cell(columns[i], p.Find(tree)))
		}
		if o.labels {
			row = append(row, labelText(r.GetMetadata().GetLabels()))
		}
		t.Add(row...)
	}
	return t, nil
}

// cell is a column's value as text. Lists are joined by commas.
func (c *cli) cell(col *weftv1.Column, found []any) string {
	var words []string
	for _, v := range found {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, item := range list {
			word := jsonpath.Text(item)
			if col.GetFormat() == "age" {
				word = c.age(word)
			}
			words = append(words, word)
		}
	}
	return strings.Join(words, ",")
}

// age of Unix seconds in text.
func (c *cli) age(seconds string) string {
	var unix float64 // a Struct's numbers may be written with an exponent
	if _, err := fmt.Sscan(seconds, &unix); err != nil {
		return seconds
	}
	return table.Since(int64(unix), c.now())
}
