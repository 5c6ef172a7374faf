package jsonpath

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const maxLen = 4096 // bytes of a template

// Path leads to values inside a tree of map[string]any and []any.
type Path []step

// step is a key, an index (negative counts from the end), or all.
type step struct {
	key   string
	index int
	what  what
}

type what uint8

const (
	key what = iota
	index
	all
)

// ParsePath reads "spec.backend", ".items[*].metadata.name", "a['b.c'][0]".
// A dot in a key may be written \. as in kubectl.
func ParsePath(s string) (Path, error) {
	if len(s) > maxLen {
		return nil, fmt.Errorf("jsonpath: longer than %d bytes", maxLen)
	}
	var p Path
	for rest := s; rest != ""; {
		var st step
		var err error
		switch {
		case strings.HasPrefix(rest, ".."):
			return nil, fmt.Errorf("jsonpath: %q: recursive descent (..) is not read; write the whole path, or use -o json and jq", s)
		case rest[0] == '[':
			st, rest, err = bracket(rest)
		case rest[0] == '.' && len(rest) == 1 && p == nil:
			return Path{}, nil
		default:
			st, rest, err = word(strings.TrimPrefix(rest, "."))
		}
		if err != nil {
			return nil, fmt.Errorf("jsonpath: %q: %w", s, err)
		}
		p = append(p, st)
	}
	return p, nil
}

func word(s string) (step, string, error) {
	var b strings.Builder
	i := 0
	for ; i < len(s) && s[i] != '.' && s[i] != '['; i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	switch b.String() {
	case "":
		return step{}, "", fmt.Errorf("a field's name is missing before %q", s)
	case "*":
		return step{what: all}, s[i:], nil
	}
	return step{key: b.String()}, s[i:], nil
}

func bracket(s string) (step, string, error) {
	if len(s) > 1 && (s[1] == '\'' || s[1] == '"') {
		end := strings.Index(s[2:], string(s[1])+"]")
		if end < 0 {
			return step{}, "", fmt.Errorf("%q does not end", s)
		}
		return step{key: s[2 : 2+end]}, s[2+end+2:], nil
	}
	inside, rest, ok := strings.Cut(s[1:], "]")
	switch {
	case !ok:
		return step{}, "", fmt.Errorf("%q does not end", s)
	case inside == "*":
		return step{what: all}, rest, nil
	case strings.HasPrefix(inside, "?"):
		return step{}, "", fmt.Errorf("filters [%s] are not read; use -l, or -o json and jq", inside)
	case strings.ContainsAny(inside, ":,"):
		return step{}, "", fmt.Errorf("slices [%s] are not read; use [*] or one index", inside)
	}
	n, err := strconv.Atoi(inside)
	if err != nil {
		return step{}, "", fmt.Errorf("[%s] is no index: a number, * or a quoted key", inside)
	}
	return step{index: n, what: index}, rest, nil
}

// Find gives every value that the path leads to.
func (p Path) Find(tree any) []any {
	found := []any{tree}
	for _, st := range p {
		var next []any
		for _, v := range found {
			next = append(next, st.find(v)...)
		}
		found = next
	}
	return found
}

func (st step) find(v any) []any {
	switch v := v.(type) {
	case map[string]any:
		if st.what == all {
			var out []any
			for _, k := range slices.Sorted(maps.Keys(v)) {
				out = append(out, v[k])
			}
			return out
		}
		if w, ok := v[st.key]; ok && st.what == key {
			return []any{w}
		}
	case []any:
		if st.what == all {
			return v
		}
		i := st.index
		if i < 0 {
			i += len(v)
		}
		if st.what == index && i >= 0 && i < len(v) {
			return []any{v[i]}
		}
	}
	return nil
}
