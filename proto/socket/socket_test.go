package socket

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "of", "its", "own", "s")
	l, err := Listen(path, 0o600, "--some-socket")
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode(), err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		path:                     "somebody listens on " + path + " already; stop that, or choose another with --some-socket",
		file:                     file + " is there and is no socket; move it away",
		filepath.Join(file, "s"): "make its folder",
		filepath.Join(dir, strings.Repeat("s", MaxPath)): "the path of a socket at most 107; choose another with --some-socket",
	} {
		if _, err := Listen(path, 0o600, "--some-socket"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", path, err, want)
		}
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as if it had been killed
	l.Close()
	again, err := Listen(path, 0o600, "--some-socket")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
