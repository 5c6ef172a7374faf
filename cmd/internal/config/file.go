package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v2"
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
	err := readInto(merged, file, names(flags))
	if err != nil && (explicit || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	dropIns, err := filepath.Glob(escape(file) + ".d/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("config: %s.d: %w", file, err)
	}
	slices.Sort(dropIns)
	for _, d := range dropIns {
		if err := readInto(merged, d, names(flags)); err != nil {
			return nil, err
		}
	}
	return merged, nil
}

// escape quotes what Glob would take for a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func readInto(merged map[string]setting, path string, known []string) error {
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
	settings, err := parse(path, b, known)
	if err != nil {
		return err
	}
	for name, s := range settings {
		s.open = info.Mode().Perm()&0o004 != 0
		merged[name] = s
	}
	return nil
}

// parse reads one file: a mapping of flag names to a value or a list of values.
func parse(path string, b []byte, known []string) (map[string]setting, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("config: %s is larger than %d bytes", path, maxFile)
	}
	var doc map[string]texts
	if err := yaml.UnmarshalStrict(b, &doc); err != nil {
		return nil, fmt.Errorf("config: %s: want \"name: value\" lines with values or lists of values: %w", path, err)
	}
	out := map[string]setting{}
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		where := fmt.Sprintf("%s (%s)", path, key)
		if n := line(b, key); n > 0 {
			where = fmt.Sprintf("%s:%d (%s)", path, n, key)
		}
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("config: %s: no such setting%s", where, suggestion(key, known))
		}
		t := doc[key]
		if t.values == nil {
			return nil, fmt.Errorf("config: %s: has no value; give one, or remove the line", where)
		}
		out[key] = setting{values: t.values, list: t.list, origin: where}
	}
	return out, nil
}

// texts is one value or a list of them, as written: YAML 1.1 would make a
// boolean of off.
type texts struct {
	values []string
	list   bool
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (t *texts) UnmarshalYAML(unmarshal func(any) error) error {
	var many []*string
	if unmarshal(&many) == nil {
		t.values, t.list = []string{}, true
		for _, s := range many {
			if s == nil {
				return errors.New("an item of a list has no value")
			}
			t.values = append(t.values, *s)
		}
		return nil
	}
	var one *string
	if err := unmarshal(&one); err != nil {
		return err
	}
	if one != nil {
		t.values = []string{*one}
	}
	return nil
}

// line finds the line of a top-level key, from 1; 0 if it is written in a way
// that only a YAML parser would find.
func line(b []byte, key string) int {
	for i, l := range bytes.Split(b, []byte("\n")) {
		name, _, ok := strings.Cut(string(l), ":")
		if ok && strings.Trim(strings.TrimRight(name, " \t"), `"'`) == key {
			return i + 1
		}
	}
	return 0
}
