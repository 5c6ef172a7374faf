package tailscale

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ReadFile reads --vpn-auth-file.
func ReadFile(path string) (Auth, error) {
	f, err := os.Open(path)
	if err != nil {
		return Auth{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAuth+1))
	if err != nil {
		return Auth{}, err
	}
	return ParseFile(b)
}

// ParseFile reads the content of --vpn-auth-file: K3s's form, as ParseAuth has it, or
// YAML or JSON with the same names, where extraArgs is a list.
func ParseFile(b []byte) (Auth, error) {
	if len(b) > maxAuth {
		return Auth{}, fmt.Errorf("more than %d bytes", maxAuth)
	}
	if at := bytes.IndexAny(b, "=:{#"); at < 0 || b[at] == '=' {
		return ParseAuth(string(b))
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := d.Decode(&doc); err != nil {
		return Auth{}, errors.New("is neither K3s's form nor YAML") // YAML's own words may repeat the key
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Auth{}, errors.New("holds more than one document; keep one")
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return Auth{}, errors.New("is no mapping; write name: tailscale, and joinKey: KEY or joinKeyFile: FILE")
	}
	w, err := structured(doc.Content[0])
	if err != nil {
		return Auth{}, err
	}
	return w.auth()
}

// structured reads a mapping.
func structured(m *yaml.Node) (w written, err error) {
	seen := map[string]bool{}
	for pair := range slices.Chunk(m.Content, 2) {
		key, value := pair[0], pair[1]
		switch {
		case !slices.Contains(fieldNames, key.Value):
			return w, fmt.Errorf("line %d: a field that is not known; accepted: %s", key.Line, strings.Join(fieldNames, ", "))
		case seen[key.Value]:
			return w, fmt.Errorf("line %d: %s is there twice", key.Line, key.Value)
		case key.Value == fieldExtra:
			if w.args, err = words(value); err != nil {
				return w, err
			}
		case value.Kind != yaml.ScalarNode:
			return w, fmt.Errorf("line %d: %s is no text", value.Line, key.Value)
		}
		seen[key.Value] = true
		if out := w.field(key.Value); out != nil && value.Tag != "!!null" {
			*out = value.Value
		}
	}
	return w, nil
}

// field is where the text of a field goes.
func (w *written) field(name string) *string {
	return map[string]*string{fieldName: &w.name, fieldKey: &w.key, fieldFile: &w.file, fieldURL: &w.url}[name]
}

// words reads a list of flags.
func words(n *yaml.Node) ([]string, error) {
	if n.Tag == "!!null" {
		return nil, nil
	}
	if n.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("line %d: extraArgs is no list; write one flag a line, as - --hostname=n7", n.Line)
	}
	var out []string
	for _, e := range n.Content {
		if e.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: extraArgs: no text", e.Line)
		}
		out = append(out, e.Value)
	}
	return out, nil
}
