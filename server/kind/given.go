package kind

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/schema"
)

// MaxObject is the largest object that is stored, in bytes.
const MaxObject = 512 << 10

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
	whole := &findings{object: f.object}
	g.complete(whole, spec)
	f.more(whole.errs)
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
		Schema: schema.Object.Version(), APIVersion: APIVersion, Kind: info.Name,
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
		if err := intent.ValidName(g.Name); err != nil {
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
	case EgressPolicy:
		return new(EgressPolicySpec)
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
	case *EgressPolicySpec:
		s.validate(f)
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

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
