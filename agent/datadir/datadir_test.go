package datadir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteReadSetAside(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "new", "folder"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Read("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("absent file: %v", err)
	}
	for _, s := range []string{"one", "two"} {
		if err := d.Write("a", []byte(s)); err != nil {
			t.Fatal(err)
		}
		if b, err := d.Read("a"); err != nil || string(b) != s {
			t.Fatalf("Read: %q, %v", b, err)
		}
	}
	if fi, err := os.Stat(d.Path("a")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", fi.Mode(), err)
	}
	to, err := d.SetAside("a")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != "two" {
		t.Fatalf("set aside: %q, %v", b, err)
	}
	if err := d.Remove("a"); err != nil {
		t.Fatalf("removing what is not there: %v", err)
	}
}
