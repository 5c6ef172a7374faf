package server

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoneLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		site  site
		want  string
	}{
		{"a new folder", nil, site{}, ""},
		{"its schema and lock alone", []string{"schema", "lock"}, site{}, ""},
		{"the store is there", []string{"ca.sealed", "etcd/member/wal/0.wal"}, site{}, ""},
		{"the CA alone", []string{"ca.sealed"}, site{}, "ca.sealed in "},
		{"several files", []string{"members.json", "server.key", "admin.yaml"}, site{}, "members.json, server.key, admin.yaml in "},
		{"an etcd without a log", []string{"server.key", "etcd/member/snap/db"}, site{}, "--adopt"},
		{"to begin a cluster", []string{"ca.sealed"}, site{Config: Config{ClusterInit: true}}, "--cluster-reset-restore-path"},
		{"it is adopted", []string{"ca.sealed"}, site{Config: Config{Adopt: true}}, ""},
		{"it joins", []string{"server.key"}, site{Config: Config{Join: Join{Server: "192.0.2.1:7443"}}}, ""},
		{"an etcd elsewhere", []string{"server.key"}, site{Config: Config{Etcd: Etcd{Endpoints: []string{"x:2379"}}}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.site.DataDir = t.TempDir()
			for _, f := range c.files {
				place(t, filepath.Join(c.site.DataDir, f), "x")
			}
			err := c.site.noneLost()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestPutSealed(t *testing.T) {
	sealed := func(id string, ordinal int) string {
		return fmt.Sprintf(`{"schema":1,"fabric":"f","id":%q,"ordinal":%d,"records":{"/weft/v1/identity/ca":"eA=="}}`, id, ordinal)
	}
	for _, c := range []struct{ name, old, aside string }{
		{"none", "", ""},
		{"damaged", `{"sche`, ""},
		{"an epoch before", sealed("0123456789abcdef01", 1), ""},
		{"another fabric's", sealed("fedcba9876543210ff", 1), "ca.sealed.fedcba9876543210"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.old != "" {
				place(t, filepath.Join(dir, sealedFile), c.old)
			}
			now := sealed("0123456789abcdef01", 2)
			if err := putSealed(Config{DataDir: dir, Log: slog.New(slog.DiscardHandler)}, []byte(now)); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, sealedFile)); err != nil || string(b) != now {
				t.Errorf("%s, %v", b, err)
			}
			kept, _ := filepath.Glob(filepath.Join(dir, sealedFile+".*"))
			if c.aside == "" && len(kept) > 0 || c.aside != "" && (len(kept) != 1 || filepath.Base(kept[0]) != c.aside) {
				t.Errorf("kept %v, want %q", kept, c.aside)
			}
			if c.aside != "" {
				if b, _ := os.ReadFile(kept[0]); string(b) != c.old {
					t.Errorf("kept %s", b)
				}
			}
		})
	}
}

func place(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
