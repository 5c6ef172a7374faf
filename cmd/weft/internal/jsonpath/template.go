package jsonpath

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Template is text with paths in braces.
type Template []part

type part struct {
	text string
	path Path
	isOf bool // a path, not text
}

// Parse reads a template. Text without braces is one path, as kubectl takes it.
func Parse(s string) (Template, error) {
	if len(s) > maxLen {
		return nil, fmt.Errorf("jsonpath: longer than %d bytes", maxLen)
	}
	if s == "" {
		return nil, fmt.Errorf("jsonpath: empty; write -o jsonpath='{.metadata.name}'")
	}
	if !strings.Contains(s, "{") {
		s = "{" + s + "}"
	}
	var t Template
	for s != "" {
		text, rest, ok := strings.Cut(s, "{")
		if text != "" {
			t = append(t, part{text: text})
		}
		if !ok {
			break
		}
		inside, after, ok := closing(rest)
		if !ok {
			return nil, fmt.Errorf("jsonpath: %q does not end with }", "{"+rest)
		}
		p, err := expression(strings.TrimSpace(inside))
		if err != nil {
			return nil, err
		}
		t, s = append(t, p), after
	}
	return t, nil
}

// closing finds the brace that ends an expression, outside of quotes.
func closing(s string) (inside, after string, ok bool) {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '}':
			return s[:i], s[i+1:], true
		}
	}
	return "", "", false
}

func expression(s string) (part, error) {
	switch {
	case s == "":
		return part{}, fmt.Errorf("jsonpath: {} holds no path")
	case s == "end" || strings.HasPrefix(s, "range ") || s == "range":
		return part{}, fmt.Errorf("jsonpath: {%s}: loops are not read; [*] joins values by a space, -o json and jq do the rest", s)
	case s[0] == '"' || s[0] == '\'':
		text, err := strconv.Unquote(`"` + strings.Trim(s, s[:1]) + `"`)
		if err != nil {
			return part{}, fmt.Errorf("jsonpath: {%s} is no quoted text", s)
		}
		return part{text: text}, nil
	}
	p, err := ParsePath(strings.TrimPrefix(strings.TrimPrefix(s, "$"), "@"))
	return part{path: p, isOf: true}, err
}

// Text is the template with the values of a tree filled in. Several values of
// one path are joined by a space.
func (t Template) Text(tree any) string {
	var b strings.Builder
	for _, p := range t {
		if !p.isOf {
			b.WriteString(p.text)
			continue
		}
		for i, v := range p.path.Find(tree) {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(Text(v))
		}
	}
	return b.String()
}

// Text is one value as people read it: text as it is, maps and lists as JSON.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
