package document

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Locate finds where a field stands that a server complains about: the field is
// "ClusterConfig/default spec.clusterCIDRs[0]", or of an object without a name
// "items[2] kind", by its place in the request. A field that is missing is found
// where it should be: its nearest parent that is there.
func Locate(docs []Document, field string) (file string, line int, ok bool) {
	name, path, _ := strings.Cut(field, " ")
	for i, d := range docs {
		if strings.EqualFold(d.Name(), name) || name == fmt.Sprintf("items[%d]", i) {
			return d.File, lineOf(d.node, path), true
		}
	}
	return "", 0, false
}

func lineOf(n *yaml.Node, path string) int {
	line := n.Line
	for _, key := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		var next *yaml.Node
		n = resolve(n)
		for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
			if n.Content[i].Value == key {
				next, line = n.Content[i+1], n.Content[i].Line
			}
		}
		if n.Kind == yaml.SequenceNode {
			if i := number(key); i >= 0 && i < len(n.Content) {
				next = n.Content[i]
				line = next.Line
			}
		}
		if next == nil {
			return line
		}
		n = next
	}
	return line
}

// number is an index, or -1.
func number(s string) int {
	n := 0
	for _, r := range s {
		if r < '0' || r > '9' || n > MaxBytes {
			return -1
		}
		n = n*10 + int(r-'0')
	}
	return n
}

// Place is where the document begins: file:line.
func (d Document) Place() string { return fmt.Sprintf("%s:%d", d.File, d.node.Line) }
