package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-net/weft/cmd/weft/internal/document"
	"github.com/weft-net/weft/cmd/weft/internal/jsonpath"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// parseColumns reads kubectl's -o custom-columns=TITLE:.path,TITLE:.path.
func parseColumns(text string) ([]*weftv1.Column, error) {
	var out []*weftv1.Column
	for part := range strings.SplitSeq(text, ",") {
		title, path, ok := strings.Cut(part, ":")
		path = fieldPath(path)
		if !ok || title == "" || path == "" {
			return nil, fmt.Errorf("custom-columns: %q is no TITLE:.path, such as NAME:.metadata.name", part)
		}
		if _, err := jsonpath.ParsePath(path); err != nil {
			return nil, fmt.Errorf("custom-columns: %s: %w", title, err)
		}
		out = append(out, &weftv1.Column{Title: title, Path: path})
	}
	return out, nil
}

// fieldPath is a path as people write it: {.a.b}, .a.b and a.b are one.
func fieldPath(s string) string {
	return strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}"), ".")
}

// sortBy puts objects in the order of a field: numbers as numbers, the rest as
// text, those without it first.
func sortBy(items []*weftv1.Resource, path string) error {
	p, err := jsonpath.ParsePath(fieldPath(path))
	if err != nil {
		return fmt.Errorf("--sort-by: %w", err)
	}
	keys, found := make(map[*weftv1.Resource]string, len(items)), false
	for _, r := range items {
		tree, err := document.Tree(document.Of(r))
		if err != nil {
			return err
		}
		var words []string
		for _, v := range p.Find(tree) {
			words = append(words, jsonpath.Text(v))
		}
		keys[r] = strings.Join(words, ",")
		found = found || len(words) > 0
	}
	if !found && len(items) > 0 {
		return fmt.Errorf("--sort-by: no %s has %s; see: weft explain %s", items[0].GetKind(), path, strings.ToLower(items[0].GetKind()))
	}
	slices.SortStableFunc(items, func(a, b *weftv1.Resource) int {
		x, errX := strconv.ParseFloat(keys[a], 64)
		y, errY := strconv.ParseFloat(keys[b], 64)
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
		return strings.Compare(keys[a], keys[b])
	})
	return nil
}
