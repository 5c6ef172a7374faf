package document

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"
)

// What a document makes of YAML, and how it refuses it. Most mistakes are in
// cmd/weft/testdata/yaml.txtar, as operators see them.
func TestRead(t *testing.T) {
	const head = "apiVersion: weft/v1\nkind: Lease\nmetadata: {name: n1}\n"
	for _, c := range []struct{ name, in, want string }{
		{"OK: nothing", "", ""},
		{"OK: comments only", "# a\n---\n# b\n", ""},
		{"OK: JSON", `{"apiVersion":"weft/v1","kind":"Lease","metadata":{"name":"n1"},"spec":{"n":1,"ok":true,"none":null}}`, `{"n":1,"none":null,"ok":true}`},
		{"OK: YAML 1.2 words are text", head + "spec: {a: yes, b: off, c: 2026-01-02, d: 0x10, e: 1_000}", `{"a":"yes","b":"off","c":"2026-01-02","d":16,"e":1000}`},
		{"OK: alias", head + "spec:\n  a: &x [1, 2]\n  b: *x", `{"a":[1,2],"b":[1,2]}`},
		{"OK: empty spec", head + "spec:", "null"},
		{"OK: status is the server's", head + "status: {state: Ready}", "null"},
		{"OK: List", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: weft/v1\n  kind: Lease\n  metadata: {name: n1}\n  spec: {a: 1}", `{"a":1}`},
		{"bad: scalar", "hello", `f:1: document 1 is text; an object has apiVersion, kind, metadata and spec`},
		{"bad: list", "- a", `f:1: document 1 is a list; an object has apiVersion, kind, metadata and spec`},
		{"bad: spec is text", head + "spec: a", "f:4: spec: is text, not a mapping"},
		{"bad: metadata is a list", "apiVersion: weft/v1\nkind: Lease\nmetadata: [a]", "f:3: metadata: is a list, not a mapping"},
		{"bad: infinity", head + "spec: {a: .inf}", `f:4: spec.a: ".inf" is not a number that JSON can say`},
		{"bad: binary", head + "spec: {a: !!binary aGk=}", `f:4: spec.a: tag !!binary is not read; only what JSON can say`},
		{"bad: key is a mapping", head + "spec: {{a: b}: c}", `f:4: spec: a key that is no text`},
		{"bad: alias to itself", head + "spec: &x\n  a: *x", `deeper than 64 levels`},
		{"bad: deep", head + "spec: {a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "}", "deeper than 64 levels"},
		{"bad: laughs", head + "spec:\n" + laughs(), "more than 500000 values in one file; split it"},
		{"bad: revision", "apiVersion: weft/v1\nkind: Lease\nmetadata: {name: n1, revision: x}", "f:3: metadata.revision: not a whole number"},
		{"bad: List in a List", "apiVersion: v1\nkind: List\nitems:\n- kind: List", "f:4: items[0]: a List in a List"},
		{"bad: List of text", "apiVersion: v1\nkind: List\nitems: [a]", "f:3: document 1 items[0] is text; an object has apiVersion, kind, metadata and spec"},
		{"bad: no UTF-8", head + "spec: {a: \"\xff\"}", "f: document 1: not YAML: "},
		{"bad: large", strings.Repeat(" ", MaxBytes+1), "f: larger than 16 MiB; split it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs, err := Read("f", strings.NewReader(c.in))
			got := ""
			for _, d := range docs {
				raw, _ := JSON(specOf(d.Resource))
				got += strings.Join(strings.Fields(string(raw)), "")
			}
			if strings.HasPrefix(c.name, "bad") {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want %s", err, c.want)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}

func specOf(r *weftv1.Resource) any {
	if r.GetSpec() == nil {
		return nil
	}
	return r.GetSpec().AsMap()
}

// laughs is ten to the ninth values by aliases of aliases.
func laughs() string {
	s := "  a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
	for i := 1; i < 9; i++ {
		s += fmt.Sprintf("  a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return s
}

// TestRoundTrip: what get prints, apply reads as the same object.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~\n\täß]{0,12}`)
		name := rapid.StringMatching(`[a-z][a-z0-9]{0,8}`)
		value := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Bool(), toAny[bool]), rapid.Map(text, toAny[string]),
			rapid.Map(rapid.Int64Range(-maxInteger, maxInteger), func(i int64) any { return float64(i) }),
			rapid.Map(rapid.Float64Range(-1e15, 1e15), toAny[float64]))
		spec, err := structpb.NewStruct(map[string]any{
			"flat": value.Draw(t, "flat"), "list": []any{value.Draw(t, "list")}, "deep": map[string]any{text.Draw(t, "key"): value.Draw(t, "deep")},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := &weftv1.Resource{
			ApiVersion: APIVersion, Kind: "Lease", Spec: spec,
			Metadata: &weftv1.Metadata{
				Name: name.Draw(t, "name"), Namespace: name.Draw(t, "namespace"), Revision: rapid.Int64Range(0, 1<<50).Draw(t, "revision"),
				Labels: rapid.MapOfN(name, text, 1, 3).Draw(t, "labels"),
			},
		}
		for form, write := range map[string]func(any) ([]byte, error){"YAML": YAML, "JSON": JSON} {
			b, err := write(Of(want))
			if err != nil {
				t.Fatal(err)
			}
			docs, err := Read("f", bytes.NewReader(b))
			if err != nil || len(docs) != 1 || !proto.Equal(docs[0].Resource, want) {
				t.Fatalf("%s:\n%s%v\n%v\nwant\n%v", form, b, err, docs, want)
			}
		}
	})
}

func toAny[T any](v T) any { return v }

func TestLocate(t *testing.T) {
	docs, err := Read("f", strings.NewReader(`apiVersion: weft/v1
kind: Lease
metadata:
  name: n1
---
apiVersion: weft/v1
kind: Lease
metadata:
  name: n2
spec:
  prefixes:
  - 10.42.1.0/24
  - 10.42.2.0/24
`))
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"Lease/n2 spec.prefixes[1]": "f:13",
		"Lease/n2 spec.prefixes[7]": "f:11",
		"Lease/n2 spec.node":        "f:10",
		"Lease/n2":                  "f:6",
		"Lease/n1 spec.node":        "f:1",
		"Lease/n3 spec":             "",
		"items[1] metadata.name":    "f:9",
		"items[2]":                  "",
		"":                          "",
	} {
		got := ""
		if file, line, ok := Locate(docs, field); ok {
			got = fmt.Sprintf("%s:%d", file, line)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", field, got, want)
		}
	}
}

func TestMessage(t *testing.T) {
	got, err := Message(&weftv1.WhoOwnsResponse{Node: "n1", Endpoint: &weftv1.EndpointRecord{
		Key: "k", Labels: map[string]string{"b": "2", "a": "<1>"}, CreatedUnix: 1 << 60,
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"node":"n1","prefix":"","endpoint":{"key":"k","namespace":"","pod":"","addresses":[],` +
		`"labels":{"a":"\u003c1\u003e","b":"2"},"device":"","mac":"","createdUnix":1152921504606846976}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// FuzzRead: no input panics, hangs or grows without bound; what is read can be
// written and is then read as the same.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"apiVersion: weft/v1\nkind: Lease\nmetadata: {name: n1, labels: {a: b}}\nspec: {prefixes: [10.42.1.0/24]}\n",
		"kind: List\nitems:\n- {apiVersion: weft/v1, kind: A, metadata: {name: b}}\n", "a: &x [*x]\n", "--- !!map {}\n...\n%YAML 1.1\n---\n? a\n: b",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		docs, err := Read("f", bytes.NewReader(in))
		if err != nil {
			return
		}
		for _, d := range docs {
			b, err := JSON(Of(d.Resource))
			if err != nil {
				t.Fatalf("%v: %v", d.Resource, err)
			}
			again, err := Read("f", bytes.NewReader(b))
			if err != nil || len(again) != 1 {
				t.Fatalf("%s: %v", b, err)
			}
			twice, err := JSON(Of(again[0].Resource))
			if err != nil || !bytes.Equal(b, twice) {
				t.Fatalf("%s\nbecame\n%s%v", b, twice, err)
			}
		}
	})
}
