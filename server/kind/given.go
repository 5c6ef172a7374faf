package kind

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// MaxObject is the largest object that is stored, in bytes.
const MaxObject = 512 << 10

// maxDocument bounds what Parse reads at once, in bytes.
const maxDocument = 16 << 20

// Given is an object as an operator wrote it, not yet checked against its kind.
type Given struct {
	APIVersion string
	Kind       string // name, plural or short name
	Name       string
	Namespace  string
	Labels     map[string]string
	Spec       json.RawMessage // nil if there is none
}

// Build checks what was given against its kind and makes it an object with
// defaults. The error is FieldErrors.
func (g Given) Build() (Object, error) {
	info, err := g.check()
	if err != nil {
		return Object{}, err
	}
	f := &findings{object: info.Name + "/" + g.Name}
	spec := g.spec(info.Name)
	f.strict("spec", withoutNulls(g.Spec), reflect.ValueOf(spec).Elem())
	checkLabels(f, g.Labels)
	if len(f.errs) == 0 {
		g.complete(f, spec)
	}
	if err := f.err(); err != nil {
		return Object{}, err
	}
	raw, err := json.Marshal(reflect.ValueOf(spec).Elem().Interface())
	if err != nil {
		return Object{}, FieldError{f.object, "spec", err.Error()}
	}
	if len(raw) > MaxObject {
		return Object{}, FieldError{f.object, "spec", fmt.Sprintf("has %d bytes; at most %d are accepted", len(raw), MaxObject)}
	}
	return Object{
		Schema: Schema, APIVersion: APIVersion, Kind: info.Name,
		Metadata: Metadata{Name: g.Name, Namespace: g.Namespace, Labels: maps.Clone(g.Labels)},
		Spec:     raw,
	}, nil
}

// check finds the kind and refuses what holds for all of them.
func (g Given) check() (Info, error) {
	f := &findings{object: strings.Trim(cut(g.Kind)+"/"+cut(g.Name), "/")}
	if g.APIVersion != "" && g.APIVersion != APIVersion {
		f.add("apiVersion", "%s is not known; accepted: %s", quote(g.APIVersion), APIVersion)
	}
	info, err := Find(g.Kind)
	switch {
	case g.Kind == "":
		f.add("kind", "is missing; write one, such as kind: %s", ClusterConfig)
	case err != nil:
		f.add("kind", "%v", err)
	case !info.Writable:
		f.add("kind", "%s is read-only: nodes report them", info.Name)
	case g.Namespace != "" && !info.Namespaced:
		f.add("metadata.namespace", "%s has no namespace; leave it out", info.Name)
	case info.Name == ClusterConfig && g.Name != DefaultName:
		f.add("metadata.name", "%s is not accepted; the only %s is named %s", quote(g.Name), ClusterConfig, DefaultName)
	default:
		if err := ValidName(g.Name); err != nil {
			f.add("metadata.name", "%v", err)
		}
	}
	return info, f.err()
}

// spec is a pointer to the zero spec of a kind.
func (g Given) spec(name string) any {
	switch name {
	case ClusterConfig:
		return new(ClusterConfigSpec)
	case Lease:
		return new(LeaseSpec)
	}
	return new(NodeSpec)
}

// complete fills defaults and checks the spec as a whole.
func (g Given) complete(f *findings, spec any) {
	switch s := spec.(type) {
	case *ClusterConfigSpec:
		*s = s.WithDefaults()
		if errs, bad := Fields(s.Validate()); bad {
			f.errs = append(f.errs, errs...)
		}
	case *LeaseSpec:
		if s.Node == "" {
			s.Node = g.Name
		}
		s.validate(f, g.Name)
	}
}

// Merge is RFC 7396: what patch gives is set, what it gives as null is taken
// away, the rest of old stays.
func Merge(old, patch json.RawMessage) (json.RawMessage, error) {
	var before, after any
	if len(old) > 0 {
		if err := decodeNumbers(old, &before); err != nil {
			return nil, fmt.Errorf("kind: stored spec: %w", err)
		}
	}
	if len(bytes.TrimSpace(patch)) == 0 {
		patch = json.RawMessage("{}")
	}
	if err := decodeNumbers(patch, &after); err != nil {
		return nil, fmt.Errorf("kind: spec is not JSON: %w", err)
	}
	return json.Marshal(merge(before, after))
}

func merge(old, patch any) any {
	fields, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, ok := old.(map[string]any)
	if !ok {
		out = map[string]any{}
	}
	for k, v := range fields {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = merge(out[k], v)
	}
	return out
}

// withoutNulls is what a spec is with the fields given as null left out.
func withoutNulls(spec json.RawMessage) json.RawMessage {
	if out, err := Merge(nil, spec); err == nil {
		return out
	}
	return spec
}

func decodeNumbers(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(into)
}

// document is the outer form of what operators write.
type document struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   json.RawMessage   `json:"metadata"`
	Spec       json.RawMessage   `json:"spec"`
	Status     json.RawMessage   `json:"status"` // of what was got before: ignored
	Items      []json.RawMessage `json:"items"`
}

// Parse reads YAML or JSON: one document or several, each an object or a List.
func Parse(text []byte) ([]Given, error) {
	if len(text) > maxDocument {
		return nil, fmt.Errorf("kind: %d bytes; at most %d are read", len(text), maxDocument)
	}
	var out []Given
	for i, doc := range documents(text) {
		raw, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			return nil, fmt.Errorf("kind: document %d: %w", i+1, err)
		}
		if string(raw) == "null" {
			continue
		}
		given, err := parseDocument(raw, 0)
		if err != nil {
			return nil, fmt.Errorf("kind: document %d: %w", i+1, err)
		}
		out = append(out, given...)
	}
	return out, nil
}

var separator = regexp.MustCompile(`(?m)^---(?:[ \t].*)?\r?$`)

func documents(text []byte) [][]byte {
	var out [][]byte
	at := 0
	for _, loc := range separator.FindAllIndex(text, -1) {
		out = append(out, text[at:loc[0]])
		at = loc[1]
	}
	return append(out, text[at:])
}

func parseDocument(raw json.RawMessage, depth int) ([]Given, error) {
	f := &findings{}
	var d document
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || json.Unmarshal(raw, &d) != nil {
		return nil, FieldError{Problem: "is not an object with apiVersion, kind, metadata and spec"}
	}
	for _, name := range sortedKeys(fields) {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "spec", "status", "items"}, name) {
			f.unknown("", name, []string{"apiVersion", "kind", "metadata", "spec"})
		}
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if d.Kind == "List" && depth == 0 {
		var out []Given
		for i, item := range d.Items {
			given, err := parseDocument(item, depth+1)
			if err != nil {
				return nil, fmt.Errorf("items[%d]: %w", i, err)
			}
			out = append(out, given...)
		}
		return out, nil
	}
	g, err := d.given()
	return []Given{g}, err
}

// metadata is what operators may write there. What a get answers beside it is
// accepted and ignored, so that its output can be applied again.
type metadata struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

func (d document) given() (Given, error) {
	f := &findings{object: cut(d.Kind)}
	var m metadata
	var fields map[string]json.RawMessage
	if len(d.Metadata) > 0 && (json.Unmarshal(d.Metadata, &fields) != nil || json.Unmarshal(d.Metadata, &m) != nil) {
		f.add("metadata", "is not accepted; accepted: name, namespace and labels, all texts")
	}
	for _, name := range sortedKeys(fields) {
		if !slices.Contains([]string{"name", "namespace", "labels", "revision", "createdUnix"}, name) {
			f.unknown("metadata", name, []string{"name", "namespace", "labels"})
		}
	}
	return Given{
		APIVersion: d.APIVersion, Kind: d.Kind,
		Name: m.Name, Namespace: m.Namespace, Labels: m.Labels, Spec: d.Spec,
	}, f.err()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
