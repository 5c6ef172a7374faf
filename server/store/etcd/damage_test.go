package etcd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/server/store"
)

// TestInspect: what is wrong is told before etcd faults over it, or waits.
func TestInspect(t *testing.T) {
	const db, wal = "snap/db", "wal/*.wal"
	for _, c := range []struct{ name, file, do, want string }{
		{"whole", db, "leave", ""},
		{"database gone: its log has all", db, "remove", ""},
		{"database empty: likewise", db, "cut to 0", ""},
		{"database cut to two pages", db, "cut to 8192", "is damaged: it has 8192 bytes of "},
		{"database cut", db, "cut to 100000", "is damaged: it has 100000 bytes of "},
		{"database cut below its header", db, "cut to 10", "is damaged: "},
		{"pages of zeros", db, "zero", "is damaged: "},
		{"log gone", wal, "remove", "its write-ahead log is missing: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filled(t)
			hurt(t, filepath.Join(dir, "etcd", "member", c.file), c.do)
			err := inspect(filepath.Join(dir, "etcd"))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasSuffix(err.Error(), restore)):
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A log that has lost its end is told within seconds. In a process of its own:
// etcd leaves goroutines behind when it gives up.
func TestEmbedLogCut(t *testing.T) {
	dir := filled(t)
	hurt(t, filepath.Join(dir, "etcd/member/wal/*.wal"), "cut to 30000")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=embed "+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "the write-ahead log has lost its end") || !strings.Contains(string(out), restore) {
		t.Errorf("got %s, %v", out, err)
	}
}

// filled is the data folder of a server that has stopped.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := Embed(t.Context(), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: fmt.Sprintf("/a%d", i), Value: make([]byte, 3000)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func hurt(t *testing.T, pattern, how string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatal(pattern, err)
	}
	for _, path := range paths {
		var size int64
		switch {
		case how == "leave":
		case how == "remove":
			err = os.Remove(path)
		case how == "zero":
			var b []byte
			if b, err = os.ReadFile(path); err == nil {
				clear(b[2*os.Getpagesize():])
				err = os.WriteFile(path, b, 0o600)
			}
		default:
			if _, err = fmt.Sscanf(how, "cut to %d", &size); err == nil {
				err = os.Truncate(path, size)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
