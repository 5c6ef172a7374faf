package userspace_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/userspace"
)

// ending is a Starter that tells which processes end.
func ending(t *testing.T) (s *userspace.Starter, ends <-chan userspace.End) {
	t.Helper()
	kerneltest.Netns(t)
	heard := make(chan userspace.End, 8)
	s, err := userspace.NewStarter(userspace.StarterConfig{Words: t.TempDir(), Ended: func(e userspace.End) { heard <- e }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background(), dev); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for len(heard) > 0 {
			t.Errorf("told although it was stopped: %+v", <-heard)
		}
	})
	return s, heard
}

// told waits for the end of a process.
func told(t *testing.T, ends <-chan userspace.End, pid int) userspace.End {
	t.Helper()
	select {
	case e := <-ends:
		if e.Name != dev || e.PID != pid || e.At.IsZero() {
			t.Errorf("%+v; want process %d of %s", e, pid, dev)
		}
		return e
	case <-time.After(time.Minute):
		t.Fatal("nobody told the end of the process")
	}
	return userspace.End{}
}

// TestEnded: what became of a process is told, whoever started it, unless it was
// stopped.
func TestEnded(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		s, ends := ending(t)
		for range 2 { // the second is that of another start
			if err := s.Start(context.Background(), dev); err != nil {
				t.Fatal(err)
			}
			process := pid(t)
			kill(t, process)
			if e := told(t, ends, process); e.How != "signal: killed" {
				t.Errorf("%+v", e)
			}
		}
	})
	t.Run("it ends by itself", func(t *testing.T) {
		s, ends := ending(t)
		if err := s.Start(context.Background(), dev); err != nil {
			t.Fatal(err)
		}
		process := pid(t)
		if err := os.Remove(socket); err != nil {
			t.Fatal(err)
		}
		if e := told(t, ends, process); e.How != "exit status 1" || filepath.Base(e.Log) != dev+".log" {
			t.Errorf("%+v", e)
		}
	})
	t.Run("killed because it hangs", func(t *testing.T) {
		s, ends := ending(t)
		for range 2 { // the next one is not blamed for it
			if err := s.Start(context.Background(), dev); err != nil {
				t.Fatal(err)
			}
			process := pid(t)
			if err := syscall.Kill(process, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if err := s.Kill(context.Background(), dev, "it hung"); err != nil {
				t.Fatal(err)
			}
			if e := told(t, ends, process); e.How != "it hung" {
				t.Errorf("%+v", e)
			}
		}
		if err := s.Kill(context.Background(), dev, "nobody is there"); err != nil {
			t.Error(err)
		}
	})
	t.Run("of an agent that ran before", func(t *testing.T) {
		s, ends := ending(t)
		before, err := userspace.NewStarter(userspace.StarterConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := before.Start(context.Background(), dev); err != nil {
			t.Fatal(err)
		}
		process := pid(t)
		for range 2 { // twice is as good as once
			if err := s.Follow(dev); err != nil {
				t.Fatal(err)
			}
		}
		kill(t, process)
		if err := before.Close(); err != nil { // may be the one that asks what became of it
			t.Fatal(err)
		}
		// Kernels before Linux 6.15 tell that to nobody but the parent.
		if e := told(t, ends, process); e.How != "signal: killed" && e.How != "" {
			t.Errorf("%+v", e)
		}
	})
	t.Run("nobody's", func(t *testing.T) {
		s, _ := ending(t)
		if err := s.Follow(dev); err != nil {
			t.Error(err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		s, _ := ending(t)
		if err := s.Start(context.Background(), dev); err != nil {
			t.Fatal(err)
		}
		converge(t, openKernel(t, s), datapath.State{}) // ending sees that nothing is told
	})
}

// TestWords: what a process says last is in a file, which does not grow for ever.
func TestWords(t *testing.T) {
	t.Setenv(panics, "1")
	kerneltest.Netns(t)
	dir := t.TempDir()
	s, err := userspace.NewStarter(userspace.StarterConfig{Words: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path := filepath.Join(dir, dev+".log")
	refused(t, s.Start(context.Background(), dev), "ended before it was ready", path)
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), "panic: the last words") {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.WriteFile(path, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		refused(t, s.Start(context.Background(), dev), "ended before it was ready")
	}
	now, err := os.ReadFile(path)
	if err != nil || strings.Count(string(now), "panic: ") != 2 || len(now) > 4*len(b) {
		t.Errorf("%d bytes, %v; want the words of two", len(now), err)
	}
	if old, err := os.Stat(path + ".old"); err != nil || old.Size() != 1<<20+1 {
		t.Errorf("%v, %v", old, err)
	}
}
