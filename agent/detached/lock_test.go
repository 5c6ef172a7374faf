package detached_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/detached"
)

// TestHold: a file is held by one at a time, whatever one who died has left in it.
func TestHold(t *testing.T) {
	for _, tt := range []struct {
		name string
		left string // in the file; empty: there is none
	}{
		{"OK nobody had it", ""},
		{"OK its holder has died", "4194304\n"},
		{"OK what is in it is no number", "once upon a time\n"},
		{"OK another pid is longer", "123456789012345678901234567890\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run", "a.lock") // the folder is made
			if tt.left != "" {
				if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(tt.left), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			f, err := detached.Hold(path, 0)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path); string(b) != fmt.Sprintln(os.Getpid()) {
				t.Errorf("the file says %q, %v", b, err)
			}
			_, err = detached.Hold(path, 0)
			if want := fmt.Sprintf("process %d has it already", os.Getpid()); !errors.Is(err, unix.EWOULDBLOCK) || !strings.Contains(err.Error(), want) {
				t.Errorf("held twice: %v, want %q", err, want)
			}
			detached.Release(path, f)
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file is there: %v", err)
			}
		})
	}
}

// TestHoldWaits: who waits for a file has it when its holder lets go of it, and it is the
// one that others find.
func TestHoldWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	first, err := detached.Hold(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() {
		f, err := detached.Hold(path, time.Minute)
		if err == nil {
			_, err = detached.Hold(path, 0)
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = nil
			} else {
				err = fmt.Errorf("held twice: %w", err)
			}
			detached.Release(path, f)
		}
		second <- err
	}()
	detached.Release(path, first)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// TestHoldNowhere: a folder that cannot be is told.
func TestHoldNowhere(t *testing.T) {
	if _, err := detached.Hold("/dev/null/a.lock", time.Minute); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("%v", err)
	}
}
