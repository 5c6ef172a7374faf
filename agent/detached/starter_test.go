package detached_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// room is a folder in which processes of a Kind live.
type room struct {
	t   *testing.T
	dir string
	how string // the processes go on; see TestMain

	systemd string // where its manager listens; empty: nowhere
}

// newRoom makes one in a network namespace of its own, where no systemd is.
func newRoom(t *testing.T) *room {
	t.Helper()
	kerneltest.Netns(t)
	return &room{t: t, dir: t.TempDir(), how: "well"}
}

func (r *room) path(ext string) string { return filepath.Join(r.dir, "a"+ext) }

// starter is one of an agent. ended are the ends that it is told of.
func (r *room) starter() (s *detached.Starter, ended <-chan detached.End) {
	r.t.Helper()
	ends := make(chan detached.End, 10)
	at := func(ext string) func(string) string {
		return func(name string) string { return filepath.Join(r.dir, name+ext) }
	}
	s, err := detached.NewStarter(detached.Config{
		Kind: detached.Kind{
			What: "test process",
			Args: func(name string) []string {
				return []string{"process", r.how, at(".lock")(name), at(".sock")(name), at(".pid")(name)}
			},
			Unit: func(name string) string { return "weft-test@" + name + ".service" }, UnitFile: "weft-test@.service",
			Lock: at(".lock"), Socket: at(".sock"),
		},
		Words: r.dir, Systemd: r.systemd, Ended: func(e detached.End) { ends <- e },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if r.systemd == "" {
			_ = s.Stop(context.Background(), "a")
		}
		if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			r.t.Error(err)
		}
	})
	return s, ends
}

// pid is the process that was started last.
func (r *room) pid() int {
	r.t.Helper()
	b, err := os.ReadFile(r.path(".pid"))
	if err != nil {
		r.t.Fatal(err)
	}
	n, err := strconv.Atoi(string(b))
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *room) kill() {
	r.t.Helper()
	if err := unix.Kill(r.pid(), unix.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
}

// gone waits for the end of a process.
func (r *room) gone(pid int) {
	r.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		r.t.Fatal(err)
	}
	defer unix.Close(fd)
	for n := 0; n == 0; {
		if n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000); err != nil && !errors.Is(err, unix.EINTR) {
			r.t.Fatal(err)
		}
	}
}

func (r *room) nothing(ext string) {
	r.t.Helper()
	if _, err := os.Lstat(r.path(ext)); !errors.Is(err, fs.ErrNotExist) {
		r.t.Errorf("%s is there: %v", r.path(ext), err)
	}
}

// TestStartAndStop: a process is there when Start returns, once, and gone when Stop
// returns, with all that it had; nobody is told of an end that was asked for.
func TestStartAndStop(t *testing.T) {
	for _, how := range []string{"well", "deaf"} {
		t.Run(how, func(t *testing.T) {
			r := newRoom(t)
			r.how = how
			s, ended := r.starter()
			if err := s.Start(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			pid := r.pid()
			if who, line := s.Mend("a"); who != fmt.Sprintf("its process %d", pid) || line != fmt.Sprintf("kill -9 %d", pid) {
				t.Errorf("%s: %s", who, line)
			}
			if own, err := unix.Getsid(pid); own != pid || err != nil {
				t.Errorf("it is of session %d, %v; want one of its own, %d", own, err, pid)
			}
			want := fmt.Sprintf("process %d has it already", pid)
			if err := s.Start(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("started twice: %v, want %q", err, want)
			}
			if err := s.Stop(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) && !zombie(pid) {
				t.Errorf("process %d is there: %v", pid, err)
			}
			r.nothing(".sock")
			r.nothing(".lock")
			if err := s.Stop(t.Context(), "a"); err != nil {
				t.Errorf("none to be stopped: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			for len(ended) > 0 {
				if e := <-ended; e.PID == pid {
					t.Errorf("told of the end of %+v", e)
				}
			}
		})
	}
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

// TestKilled: who started a process that is killed is told of it, also where that was an
// agent before it; what was left is swept, and another can be started.
func TestKilled(t *testing.T) {
	for _, tt := range []struct {
		name    string
		adopted bool
	}{{"its own", false}, {"of the agent before", true}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoom(t)
			s, ended := r.starter()
			if err := s.Start(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if pid := r.pid(); tt.adopted {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if err := unix.Kill(pid, 0); err != nil {
					t.Fatalf("it went with its agent: %v", err)
				}
				s, ended = r.starter()
				for range 2 { // the second changes nothing
					if err := s.Follow("a"); err != nil {
						t.Fatal(err)
					}
				}
			}
			r.kill()
			e := <-ended
			if e.Name != "a" || e.PID != r.pid() || e.Unit != "weft-test@a.service" || e.Log != r.path(".log") || !tt.adopted && e.How != "signal: killed" {
				t.Errorf("told of %+v", e)
			}
			if err := s.Sweep("a"); err != nil {
				t.Error(err)
			}
			r.nothing(".sock")
			r.nothing(".lock")
			if err := s.Follow("a"); err != nil {
				t.Errorf("none to be followed: %v", err)
			}
			if err := s.Start(t.Context(), "a"); err != nil {
				t.Errorf("another: %v", err)
			}
			if len(ended) > 0 {
				t.Errorf("told twice: %+v", <-ended)
			}
		})
	}
}

// TestStale: what a process that was killed has left is in nobody's way, and what belongs
// to somebody who lives is left alone.
func TestStale(t *testing.T) {
	r := newRoom(t)
	s, _ := r.starter()
	if err := os.WriteFile(r.path(".lock"), fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
		t.Fatal(err) // the number is another's by now
	}
	if err := s.Stop(t.Context(), "a"); err != nil {
		t.Errorf("stop: %v", err)
	}
	if who, _ := s.Mend("a"); who != "its process" {
		t.Errorf("takes us for %s", who)
	}
	if err := s.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep("a"); err != nil {
		t.Error(err)
	}
	for _, ext := range []string{".lock", ".sock"} {
		if _, err := os.Lstat(r.path(ext)); err != nil {
			t.Errorf("swept under a process that lives: %v", err)
		}
	}
}

// TestNotStarted: a process that does not come up is an error that says why, and does not
// come up later.
func TestNotStarted(t *testing.T) {
	for _, tt := range []struct {
		how   string
		most  time.Duration // that is waited
		want  string
		words string // in the file of what it said
	}{
		{"mute", 500 * time.Millisecond, "did not say that it is ready", ""},
		{"refused", time.Minute, "it has no device", ""},
		{"panics", time.Minute, "ended before it was ready", "panic: the last words"},
	} {
		t.Run(tt.how, func(t *testing.T) {
			r := newRoom(t)
			r.how = tt.how
			s, ended := r.starter()
			ctx, cancel := context.WithTimeout(t.Context(), tt.most)
			defer cancel()
			err := s.Start(ctx, "a")
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), r.path(".log")) {
				t.Errorf("%v; want %q and %s", err, tt.want, r.path(".log"))
			}
			if _, err := os.Lstat(r.path(".pid")); err == nil { // a slow machine may not have got so far
				r.gone(r.pid())
			}
			if b, err := os.ReadFile(r.path(".log")); err != nil || !strings.Contains(string(b), tt.words) {
				t.Errorf("it said %q, %v; want %q", b, err, tt.words)
			}
			if err := s.Sweep("a"); err != nil {
				t.Error(err)
			}
			if r.how = "well"; s.Start(t.Context(), "a") != nil {
				t.Error("another is not started")
			}
			if len(ended) > 0 {
				t.Errorf("told of the end of %+v", <-ended)
			}
		})
	}
}

// TestElsewhere: a process of another network namespace is not ours, and is left alone.
func TestElsewhere(t *testing.T) {
	r := newRoom(t)
	s, _ := r.starter()
	if err := s.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	t.Run("there", func(t *testing.T) {
		kerneltest.Netns(t)
		there := &room{t: t, dir: r.dir, how: "well"}
		o, _ := there.starter()
		for name, err := range map[string]error{"start": o.Start(t.Context(), "a"), "follow": o.Follow("a"), "stop": o.Stop(t.Context(), "a")} {
			if err == nil || !strings.Contains(err.Error(), "another network namespace") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	if err := unix.Kill(r.pid(), 0); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}
