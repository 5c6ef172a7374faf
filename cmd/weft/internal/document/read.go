package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"go.yaml.in/yaml/v3"
)

// Bounds on one file.
const (
	MaxBytes     = 16 << 20
	MaxDocuments = 10_000
	maxNodes     = 500_000 // of a file's trees, aliases counted where they are used
	maxDepth     = 64
)

// Document is one object of a file.
type Document struct {
	Resource *weftv1.Resource
	File     string
	node     *yaml.Node
}

// Name is the object as messages name it: ClusterConfig/default.
func (d Document) Name() string { return Name(d.Resource) }

// Name is an object as messages name it: Kind/name, or Kind/namespace/name.
func Name(r *weftv1.Resource) string {
	m := r.GetMetadata()
	if m.GetNamespace() != "" {
		return r.GetKind() + "/" + m.GetNamespace() + "/" + m.GetName()
	}
	return r.GetKind() + "/" + m.GetName()
}

// Read reads all documents of a file: YAML, or JSON, which is a part of it.
// Empty documents are left out, a List is taken apart.
func Read(file string, in io.Reader) ([]Document, error) {
	b, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("%s: larger than %d MiB; split it", file, MaxBytes>>20)
	}
	r := reader{file: file, left: maxNodes}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for index := 1; ; index++ {
		var root yaml.Node
		if err := dec.Decode(&root); errors.Is(err, io.EOF) {
			return r.docs, nil
		} else if err != nil {
			return nil, r.malformed(index, err)
		}
		if index > MaxDocuments {
			return nil, fmt.Errorf("%s: more than %d documents; split it", file, MaxDocuments)
		}
		if err := r.document(index, &root); err != nil {
			return nil, err
		}
	}
}

type reader struct {
	file string
	docs []Document
	left int // nodes that may still be visited
}

// Error is something wrong in a file.
type Error struct {
	File  string
	Line  int
	Field string // path in the object, or empty
	Why   string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Why)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Field, e.Why)
}

func (r *reader) fail(n *yaml.Node, field, format string, args ...any) error {
	return &Error{File: r.file, Line: n.Line, Field: field, Why: fmt.Sprintf(format, args...)}
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (?s)(.*)$`)

// malformed words the parser's error, which counts lines from the file's start.
func (r *reader) malformed(index int, err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		return &Error{File: r.file, Line: line, Why: "not YAML: " + m[2]}
	}
	return fmt.Errorf("%s: document %d: not YAML: %s", r.file, index, strings.TrimPrefix(err.Error(), "yaml: "))
}

func (r *reader) document(index int, root *yaml.Node) error {
	if root.Kind != yaml.DocumentNode || len(root.Content) != 1 {
		return nil
	}
	n := root.Content[0]
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	return r.object(fmt.Sprintf("document %d", index), n)
}

// object reads a mapping that is a resource, or a List of them.
func (r *reader) object(what string, n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return r.fail(n, "", "%s is %s; an object has apiVersion, kind, metadata and spec", what, describe(n))
	}
	tree, err := r.mapping(n, "", 0)
	if err != nil {
		return err
	}
	if tree["kind"] == "List" {
		return r.list(what, n)
	}
	res, err := r.resource(what, n, tree)
	if err != nil {
		return err
	}
	if len(r.docs) == MaxDocuments {
		return fmt.Errorf("%s: more than %d objects; split it", r.file, MaxDocuments)
	}
	r.docs = append(r.docs, Document{Resource: res, File: r.file, node: n})
	return nil
}

// list takes a List apart. A List in a List is refused by its items' kind.
func (r *reader) list(what string, n *yaml.Node) error {
	for i := 0; i < len(n.Content); i += 2 {
		switch key, value := n.Content[i], n.Content[i+1]; key.Value {
		case "apiVersion", "kind", "metadata":
		case "items":
			if value.Kind != yaml.SequenceNode {
				return r.fail(value, "items", "is %s, not a list", describe(value))
			}
			for j, item := range value.Content {
				if k := child(item, "kind"); k != nil && k.Value == "List" {
					return r.fail(item, fmt.Sprintf("items[%d]", j), "a List in a List")
				}
				if err := r.object(fmt.Sprintf("%s items[%d]", what, j), item); err != nil {
					return err
				}
			}
		default:
			return r.fail(key, key.Value, "unknown field; a List has apiVersion, kind and items")
		}
	}
	return nil
}

// child is the value of a mapping's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
