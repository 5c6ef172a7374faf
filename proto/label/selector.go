package label

import (
	"fmt"
	"slices"
	"strings"
)

// Selector picks objects by their labels, in Kubernetes' syntax:
// "app=web,tier in (a,b),env notin (dev),site,!old". All terms must hold.
type Selector []term

type term struct {
	key    string
	op     string // "in", "notin", "exists", "absent"
	values []string
}

const maxSelector = 4096 // bytes

// ParseSelector reads a selector. The empty one picks all.
func ParseSelector(s string) (Selector, error) {
	if len(s) > maxSelector {
		return nil, fmt.Errorf("has %d bytes; at most %d are accepted", len(s), maxSelector)
	}
	var out Selector
	for _, text := range splitTerms(s) {
		t, err := parseTerm(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// String is a selector that means the same, and the same text for the same terms.
func (s Selector) String() string {
	texts := make([]string, len(s))
	for i, t := range s {
		texts[i] = t.String()
	}
	return strings.Join(texts, ",")
}

// String is never longer than what was read, so that it can be read again.
func (t term) String() string {
	one := len(t.values) == 1
	switch {
	case t.op == "absent":
		return "!" + t.key
	case t.op == "in" && one:
		return t.key + "=" + t.values[0]
	case t.op == "notin" && one:
		return t.key + "!=" + t.values[0]
	case len(t.values) > 0:
		return t.key + " " + t.op + " (" + strings.Join(t.values, ",") + ")"
	}
	return t.key
}

// Matches tells whether labels are picked.
func (s Selector) Matches(labels map[string]string) bool {
	for _, t := range s {
		v, there := labels[t.key]
		ok := false
		switch t.op {
		case "in":
			ok = there && slices.Contains(t.values, v)
		case "notin": // as in Kubernetes, absence is not in
			ok = !there || !slices.Contains(t.values, v)
		case "exists":
			ok = there
		case "absent":
			ok = !there
		}
		if !ok {
			return false
		}
	}
	return true
}

// splitTerms cuts at the commas outside parentheses.
func splitTerms(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	var out []string
	depth, at := 0, 0
	for i, r := range s {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			out = append(out, s[at:i])
			at = i + 1
		}
	}
	return append(out, s[at:])
}

func parseTerm(s string) (term, error) {
	t := term{op: "exists", key: s}
	if key, values, ok := cutSet(s); ok {
		fields := strings.Fields(key)
		if len(fields) != 2 || fields[1] != "in" && fields[1] != "notin" {
			return term{}, badTerm(s)
		}
		t = term{key: fields[0], op: fields[1], values: values}
	} else if key, value, ok := strings.Cut(s, "!="); ok {
		t = term{key: key, op: "notin", values: []string{value}}
	} else if key, value, ok := strings.Cut(s, "=="); ok {
		t = term{key: key, op: "in", values: []string{value}}
	} else if key, value, ok := strings.Cut(s, "="); ok {
		t = term{key: key, op: "in", values: []string{value}}
	} else if key, ok := strings.CutPrefix(s, "!"); ok {
		t = term{key: key, op: "absent"}
	}
	t.key = strings.TrimSpace(t.key)
	if ValidKey(t.key) != nil {
		return term{}, badTerm(s)
	}
	for i, v := range t.values {
		t.values[i] = strings.TrimSpace(v)
		if ValidValue(t.values[i]) != nil {
			return term{}, badTerm(s)
		}
	}
	return t, nil
}

// cutSet takes "key in (a,b)" apart into "key in" and its values.
func cutSet(s string) (key string, values []string, ok bool) {
	key, rest, ok := strings.Cut(s, "(")
	inner, closed := strings.CutSuffix(rest, ")")
	if !ok || !closed || strings.ContainsAny(inner, "()") {
		return "", nil, false
	}
	return key, strings.Split(inner, ","), true
}

func badTerm(s string) error {
	return fmt.Errorf("%.60q is not a term; accepted: k, !k, k=v, k!=v, k in (a,b), k notin (a,b), joined by commas", s)
}
