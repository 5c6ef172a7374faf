package label

import (
	"fmt"
	"strings"
	"testing"
)

func TestSelector(t *testing.T) {
	labels := map[string]string{"app": "web", "tier": "b", "weft/site": "fra"}
	for _, c := range []struct {
		in   string
		want string // "true", "false", or part of the error
	}{
		{"", "true"},
		{"app", "true"},
		{"!app", "false"},
		{"!old", "true"},
		{"app=web", "true"},
		{"app==web", "true"},
		{"app!=web", "false"},
		{"gone!=x", "true"},
		{"tier in (a, b)", "true"},
		{"tier in (a)", "false"},
		{"tier notin (a)", "true"},
		{"gone notin (a)", "true"},
		{"app=web,tier in (a,b),!old", "true"},
		{"weft/site=fra", "true"},
		{" app = web ", "true"},
		{"app=", "false"},
		{"app=web,", "is not a term"},
		{"tier in a", "is not a term"},
		{"=x", "is not a term"},
		{"tier of (a)", "is not a term"},
		{"tier in (a", "is not a term"},
		{"a b", "is not a term"},
		{"app=we b", "is not a term"},
		{strings.Repeat("a,", 3000), "at most 4096"},
	} {
		sel, err := ParseSelector(c.in)
		text := fmt.Sprint(sel.Matches(labels))
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("%q: %s, want %s", c.in, text, c.want)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{"a=b,c in (d,e)", "!a", "((", "a notin ()"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if sel, err := ParseSelector(in); err == nil {
			sel.Matches(map[string]string{"a": "b"})
			if again, err := ParseSelector(sel.String()); err != nil || again.String() != sel.String() {
				t.Errorf("%q is written %q, which reads as %q, %v", in, sel, again, err)
			}
		}
	})
}
