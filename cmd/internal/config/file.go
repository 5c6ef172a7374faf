package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds a file of settings, in bytes.
const maxFile = 1 << 20

// read merges the file and its drop-ins, later ones over earlier ones.
func (o Options) read(flags *pflag.FlagSet) (map[string]setting, error) {
	file := flags.Lookup(configFlag).Value.String()
	explicit := flags.Changed(configFlag)
	if v, ok := o.lookup(o.configVar()); ok && !explicit {
		file, explicit = v, true
	}
	if file == "" {
		return nil, nil
	}
	merged := map[string]setting{}
	err := readInto(merged, file, flags)
	if explicit && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; it is what --%s or %s names", err, configFlag, o.configVar())
	}
	if err != nil && (explicit || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	dropIns, err := filepath.Glob(escape(file) + ".d/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("config: %s.d: %w", file, err)
	}
	slices.Sort(dropIns)
	for _, d := range dropIns {
		if err := readInto(merged, d, flags); err != nil {
			return nil, err
		}
	}
	return merged, nil
}

// escape quotes what Glob would take for a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func readInto(merged map[string]setting, path string, flags *pflag.FlagSet) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("config: %s is not a file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	settings, err := parse(path, b, names(flags), spelling(flags))
	if err != nil {
		return err
	}
	for name, s := range settings {
		s.open = info.Mode().Perm()&0o004 != 0
		merged[name] = s
	}
	return nil
}

// spelling is how a command reads other names of its flags.
func spelling(flags *pflag.FlagSet) func(string) string {
	return func(name string) string { return string(flags.GetNormalizeFunc()(flags, name)) }
}

// parse reads one file: a mapping of flag names to a value or a list of values.
// It reads nodes, not Go values: YAML would make a boolean of off. Ours gives the
// flag that is meant by another name for it.
func parse(path string, b []byte, known []string, ours func(string) string) (map[string]setting, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("config: %s is larger than %d bytes", path, maxFile)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("config: %s: %w", path, err)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("config: %s:%d: want lines \"setting: value\"; --help lists the settings", path, top.Line)
	}
	out := map[string]setting{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key := top.Content[i]
		where := fmt.Sprintf("%s:%d (%s)", path, key.Line, key.Value)
		name := ours(key.Value)
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("config: %s: no such setting%s", where, suggestion(key.Value, known))
		}
		if earlier, twice := out[name]; twice {
			return nil, fmt.Errorf("config: %s: is already set at %s", where, earlier.origin)
		}
		values, list, err := texts(top.Content[i+1])
		if err != nil {
			return nil, fmt.Errorf("config: %s: %w", where, err)
		}
		out[name] = setting{values: values, list: list, origin: where}
	}
	return out, nil
}

// texts is a value, or the values of a list, as written.
func texts(n *yaml.Node) (values []string, list bool, err error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil, false, errors.New("has no value; give one, or remove the line")
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}, false, nil
	case n.Kind != yaml.SequenceNode:
		return nil, false, errors.New("takes a value or a list of values")
	}
	values = []string{}
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			return nil, false, fmt.Errorf("line %d: an item of the list is no value", item.Line)
		}
		values = append(values, item.Value)
	}
	return values, true, nil
}
