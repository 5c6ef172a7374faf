package jsonpath

import (
	"encoding/json"
	"strings"
	"testing"
)

const object = `{
	"items": [{"metadata": {"name": "n1", "labels": {"weft.dev/site": "fra"}}}, {"metadata": {"name": "n2"}}],
	"spec": {"cidrs": ["10.42.0.0/16", "fd42:42::/48"], "mtu": 1450, "big": 9007199254740993, "on": true, "none": null}
}`

func tree(t testing.TB) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(object))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTemplate(t *testing.T) {
	for in, want := range map[string]string{
		`{.items[*].metadata.name}`:                    "n1 n2",
		`.items[1].metadata.name`:                      "n2",
		`items[-1].metadata.name`:                      "n2",
		`{$.spec.mtu}`:                                 "1450",
		`{.spec.big}`:                                  "9007199254740993",
		`{.spec.on}{.spec.none}`:                       "true",
		`{.spec.cidrs}`:                                `["10.42.0.0/16","fd42:42::/48"]`,
		`{.spec.cidrs[*]}`:                             "10.42.0.0/16 fd42:42::/48",
		`mtu={.spec.mtu}{"\n"}`:                        "mtu=1450\n",
		`{.items[0].metadata.labels.weft\.dev/site}`:   "fra",
		`{.items[0].metadata.labels['weft.dev/site']}`: "fra",
		`{.items[0].metadata.labels.*}`:                "fra",
		`{.nowhere.at.all}{.spec[0]}{.items.x}`:        "",
		`{.items[9].metadata}`:                         "",
		`{.spec.mtu}{'}'}`:                             "1450}",
	} {
		tmpl, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := tmpl.Text(tree(t)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestTemplateRefused(t *testing.T) {
	for in, want := range map[string]string{
		``:                            "empty",
		`{`:                           "does not end with }",
		`{}`:                          "holds no path",
		`{range .items[*]}{.a}{end}`:  "loops are not read",
		`{.items[?(@.a=="b")].c}`:     "filters [?(@.a==\"b\")] are not read",
		`{.items[0:2]}`:               "slices [0:2] are not read",
		`{..name}`:                    "recursive descent",
		`{.items[x]}`:                 "[x] is no index",
		`{.items[0}`:                  "does not end",
		`{.a['b}`:                     "does not end",
		`{.a.}`:                       "a field's name is missing",
		`{"a}`:                        "does not end with }",
		strings.Repeat("a", maxLen+1): "longer than",
	} {
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", in, err, want)
		}
	}
}

// FuzzParse: no template panics, when it is read or when it is filled in.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{.items[*].metadata.name}`, `a{"\n"}{.b['c.d'][-1]}`, `{\}`, `{.a\`, `..`} {
		f.Add(s)
	}
	v := tree(f)
	f.Fuzz(func(_ *testing.T, in string) {
		if tmpl, err := Parse(in); err == nil {
			tmpl.Text(v)
		}
	})
}
