package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"sigs.k8s.io/yaml"
)

// APIVersion of weft's own objects.
const APIVersion = "weft/v1"

// Object is a resource as people read it. Fields of specs are sorted by name.
type Object struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   Metadata       `json:"metadata"`
	Spec       map[string]any `json:"spec,omitempty"`
	Status     map[string]any `json:"status,omitempty"`
}

// Metadata names an object.
type Metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Revision    int64             `json:"revision,omitempty"`
	CreatedUnix int64             `json:"createdUnix,omitempty"` // seconds since 1970
	// CreationTimestamp is the same in RFC 3339, as Kubernetes' tools look for it.
	CreationTimestamp string `json:"creationTimestamp,omitempty"`
}

// List is several objects.
type List struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Items      []Object `json:"items"`
}

// Of is a resource as people read it.
func Of(r *weftv1.Resource) Object {
	m := r.GetMetadata()
	return Object{
		APIVersion: r.GetApiVersion(),
		Kind:       r.GetKind(),
		Metadata: Metadata{
			Name: m.GetName(), Namespace: m.GetNamespace(), Labels: m.GetLabels(),
			Revision: m.GetRevision(), CreatedUnix: m.GetCreatedUnix(), CreationTimestamp: timestamp(m.GetCreatedUnix()),
		},
		Spec:   r.GetSpec().AsMap(),
		Status: r.GetStatus().AsMap(),
	}
}

func timestamp(unix int64) string {
	if unix == 0 {
		return ""
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}

// ListOf is a List of resources.
func ListOf(rs []*weftv1.Resource) List {
	l := List{APIVersion: APIVersion, Kind: "List", Items: []Object{}}
	for _, r := range rs {
		l.Items = append(l.Items, Of(r))
	}
	return l
}

// Tree is an object or a List as maps, lists, text, numbers, for paths into it.
func Tree(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // revisions may pass 2^53
	var out any
	return out, dec.Decode(&out)
}

// JSON writes a value with four spaces, as kubectl does.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return b.Bytes(), nil
}

// YAML writes a value.
func YAML(v any) ([]byte, error) {
	b, err := yaml.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return b, nil
}
