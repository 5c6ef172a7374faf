package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecondHolderIsRefusedWithPid(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir)
	want := fmt.Sprintf("in use by another weft-agent (pid %d)", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("second Open: %v, want %q in it", err, want)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
}

func TestOpenSweepsHalfWrittenFiles(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, tempPrefix+"intent.json-123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is still there", left)
	}
}

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

func TestWriteFailsLeavingTheOld(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	// A folder in the file's place: the rename must fail and leave no temporary file.
	if err := os.Mkdir(d.Path("a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Write("a", []byte("x")); err == nil {
		t.Fatal("Write over a folder succeeded")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
}
