package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/schema"
)

func TestFolderSchema(t *testing.T) {
	for _, c := range []struct {
		content string // of the file; none if empty
		want    string // part of the error; none if empty
	}{
		{"", ""},
		{`{"schema":1,"release":"0.1.0"}`, ""},
		{`{"schema":2,"release":"9.9.9"}`, "has schema 2, and this release (0.1.0-dev) reads up to 1: run release 9.9.9, which raised it, again"},
		{`{"schema":2}`, "run the newer release again"},
		{`{"schema":0}`, "is damaged"},
		{`{"sche`, "is damaged: it does not say"},
		{strings.Repeat(" ", maxSchema) + `{"schema":1}`, "is damaged"},
	} {
		dir := t.TempDir()
		if c.content != "" {
			if err := os.WriteFile(filepath.Join(dir, schemaName), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		held, err := HoldAs(dir, "weft-agent", schema.AgentFolder)
		if err == nil {
			err = errors.Join(MarkFolder(dir, schema.AgentFolder), held.Close())
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: %v, want %q", c.content, err, c.want)
		}
		left, _ := os.ReadDir(dir)
		b, _ := os.ReadFile(filepath.Join(dir, schemaName))
		if err != nil && (len(left) != 1 || string(b) != c.content) {
			t.Errorf("%.40s: refused, and written: %v %.40s", c.content, left, b)
		}
		if err == nil && !strings.HasPrefix(string(b), `{"schema":1,`) {
			t.Errorf("%.40s: marked %s", c.content, b)
		}
	}
}

// A folder that says nothing is of schema 1, so a full disk keeps nobody away.
func TestFolderCannotBeMarked(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if err := MarkFolder(gone, schema.AgentFolder); err != nil {
		t.Error(err)
	}
}

func FuzzFolderSchema(f *testing.F) {
	f.Add([]byte(`{"schema":1,"release":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, schemaName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := readMark(dir, schema.AgentFolder); err == nil && m.Schema != 1 {
			t.Errorf("took %+v", m)
		}
	})
}
