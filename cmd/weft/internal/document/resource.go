package document

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// resource makes a Resource of a document. Its status is what the server said
// and is left out, so that what get prints can be applied.
func (r *reader) resource(what string, n *yaml.Node, tree map[string]any) (*weftv1.Resource, error) {
	if err := r.known(n, "", "apiVersion", "kind", "metadata", "spec", "status"); err != nil {
		return nil, err
	}
	res := &weftv1.Resource{Metadata: &weftv1.Metadata{}}
	var err error
	if res.Kind, err = r.text(n, tree, "", "kind"); err != nil {
		return nil, err
	}
	if res.Kind == "" {
		return nil, r.fail(n, "", "%s has no kind", what)
	}
	if res.ApiVersion, err = r.text(n, tree, "", "apiVersion"); err != nil {
		return nil, err
	}
	if res.ApiVersion == "" {
		return nil, r.fail(n, "", "%s (kind %s) has no apiVersion; write apiVersion: weft/v1", what, res.Kind)
	}
	if err := r.metadata(what, n, tree, res); err != nil {
		return nil, err
	}
	spec, err := r.section(n, tree, "spec")
	if err != nil || spec == nil {
		return res, err
	}
	if res.Spec, err = structpb.NewStruct(spec); err != nil {
		return nil, r.fail(child(n, "spec"), "spec", "%v", err)
	}
	return res, nil
}

func (r *reader) metadata(what string, n *yaml.Node, tree map[string]any, res *weftv1.Resource) error {
	meta, err := r.section(n, tree, "metadata")
	if err != nil {
		return err
	}
	node := n
	if meta != nil {
		node = resolve(child(n, "metadata"))
		if err := r.known(node, "metadata", "name", "namespace", "labels", "revision", "createdUnix", "creationTimestamp"); err != nil {
			return err
		}
	}
	if res.Metadata.Name, err = r.text(node, meta, "metadata", "name"); err != nil {
		return err
	}
	if res.Metadata.Name == "" {
		return r.fail(node, "metadata.name", "%s (kind %s) has no name", what, res.Kind)
	}
	if res.Metadata.Namespace, err = r.text(node, meta, "metadata", "namespace"); err != nil {
		return err
	}
	for key, to := range map[string]*int64{"revision": &res.Metadata.Revision, "createdUnix": &res.Metadata.CreatedUnix} {
		if meta[key] == nil {
			continue
		}
		f, ok := meta[key].(float64)
		if !ok || f < 0 || f != float64(int64(f)) {
			return r.fail(child(node, key), "metadata."+key, "not a whole number")
		}
		*to = int64(f)
	}
	return r.labels(node, meta, res)
}

func (r *reader) labels(node *yaml.Node, meta map[string]any, res *weftv1.Resource) error {
	if meta["labels"] == nil {
		return nil
	}
	at := resolve(child(node, "labels"))
	in, ok := meta["labels"].(map[string]any)
	if !ok {
		return r.fail(at, "metadata.labels", "is %s, not a mapping of text to text", describe(at))
	}
	res.Metadata.Labels = make(map[string]string, len(in))
	for _, key := range slices.Sorted(maps.Keys(in)) {
		v, err := r.text(at, in, "metadata.labels", key)
		if err != nil {
			return err
		}
		res.Metadata.Labels[key] = v
	}
	return nil
}

// section is a mapping of an object, nil if it is not there or empty.
func (r *reader) section(n *yaml.Node, tree map[string]any, key string) (map[string]any, error) {
	switch v := tree[key].(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	}
	at := resolve(child(n, key))
	return nil, r.fail(at, key, "is %s, not a mapping", describe(at))
}

// text is a value that must be text: a number is not taken for one, because
// YAML would change its spelling (1e3, 0x10).
func (r *reader) text(n *yaml.Node, tree map[string]any, path, key string) (string, error) {
	switch v := tree[key].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	at := resolve(child(n, key))
	return "", r.fail(at, Join(path, key), "is %s; write it in quotes", describe(at))
}

func (r *reader) known(n *yaml.Node, path string, fields ...string) error {
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		if slices.Contains(fields, key.Value) {
			continue
		}
		return r.fail(key, Join(path, key.Value), "unknown field%s; known are %s",
			nearest(key.Value, fields), strings.Join(fields, ", "))
	}
	return nil
}

// nearest is a hint for a field that differs in case only.
func nearest(key string, fields []string) string {
	for _, f := range fields {
		if strings.EqualFold(f, key) {
			return fmt.Sprintf(" (did you mean %s?)", f)
		}
	}
	return ""
}

func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
