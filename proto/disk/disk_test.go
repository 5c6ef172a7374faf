package disk

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
	dir := filepath.Join(t.TempDir(), "new", "folder")
	first, err := Hold(dir, "weft-agent")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Hold(dir, "weft-agent")
	want := fmt.Sprintf("in use by another weft-agent (pid %d)", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("second Hold: %v, want %q in it", err, want)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Hold(dir, "weft-agent")
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
	file := filepath.Join(dir, "file")
	if err := WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Hold(filepath.Join(file, "below"), "weft-agent"); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("a folder below a file: %v", err)
	}
}

func TestHoldSweepsHalfWrittenFiles(t *testing.T) {
	dir := t.TempDir()
	half := filepath.Join(dir, TempPrefix+"intent.json-123")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := Hold(dir, "weft-agent")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is still there", half)
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for i, mode := range []fs.FileMode{0o644, 0o600} {
		if err := WriteFile(path, []byte{byte(i)}, mode); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm() != mode {
			t.Errorf("mode %v, %v; want %v", fi.Mode(), err, mode)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != string([]byte{byte(i)}) {
			t.Errorf("%q, %v", b, err)
		}
	}
}

func TestWriteFileLeavesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "f"), []byte("new"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "full"), []byte("new"), 0o600); err == nil || strings.Contains(err.Error(), TempPrefix) {
		t.Errorf("a folder in the file's place: %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" || len(left) > 0 {
		t.Errorf("old file %q, %v; left over %v", b, err, left)
	}
}
