package document

import (
	"math"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxInteger is the largest integer up to which a JSON number holds all exactly
// (RFC 8259, section 6).
const maxInteger = 1<<53 - 1

// value makes of a node what google.protobuf.Struct holds: nil, bool, float64,
// string, []any, map[string]any. path is the field for errors.
func (r *reader) value(n *yaml.Node, path string, depth int) (any, error) {
	if r.left--; r.left < 0 {
		return nil, r.fail(n, path, "more than %d values in one file; split it", maxNodes)
	}
	if depth > maxDepth {
		return nil, r.fail(n, path, "deeper than %d levels", maxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias, path, depth+1)
	case yaml.MappingNode:
		return r.mapping(n, path, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			v, err := r.value(item, path+"["+strconv.Itoa(i)+"]", depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	return r.scalar(n, path)
}

func (r *reader) mapping(n *yaml.Node, path string, depth int) (map[string]any, error) {
	out := make(map[string]any, len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Tag == "!!merge" {
			return nil, r.fail(key, path, "merge keys (<<) are not read; write the fields out")
		}
		if key.Kind != yaml.ScalarNode || !utf8.ValidString(key.Value) {
			return nil, r.fail(key, path, "a key that is no text")
		}
		field := Join(path, key.Value)
		if first, ok := lines[key.Value]; ok {
			return nil, r.fail(key, field, "is there twice, first on line %d", first)
		}
		v, err := r.value(n.Content[i+1], field, depth+1)
		if err != nil {
			return nil, err
		}
		out[key.Value], lines[key.Value] = v, key.Line
	}
	return out, nil
}

func (r *reader) scalar(n *yaml.Node, path string) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return nil, r.fail(n, path, "%q is not true or false", n.Value)
		}
		return b, nil
	case "!!int", "!!float":
		return r.number(n, path)
	case "!!str", "!!timestamp":
		if !utf8.ValidString(n.Value) {
			return nil, r.fail(n, path, "not UTF-8")
		}
		return n.Value, nil
	}
	return nil, r.fail(n, path, "tag %s is not read; only what JSON can say", n.ShortTag())
}

func (r *reader) number(n *yaml.Node, path string) (any, error) {
	var f float64
	if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, r.fail(n, path, "%s is not a number that JSON can say", strconv.Quote(n.Value))
	}
	if math.Trunc(f) == f && math.Abs(f) > maxInteger {
		return nil, r.fail(n, path, "%s is no number up to %d, beyond which JSON rounds", n.Value, int64(maxInteger))
	}
	return f, nil
}

// Join appends a key to a field's path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	}
	return "text"
}
