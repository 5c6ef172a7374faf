package detached_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/dbus/dbustest"
	"github.com/weft-net/weft/agent/detached"
)

// TestUnit: where systemd runs a process is its unit's, and what becomes of that is told.
// One that was started without systemd is followed and ended all the same.
func TestUnit(t *testing.T) {
	const job, unit = "/org/freedesktop/systemd1/job/7", "weft-test@a.service"
	ends := func(result string) []byte {
		return append(dbustest.Message(2, dbustest.Text(job), "o", nil),
			dbustest.Message(4, dbustest.Removed(job, unit, result), "uoss", map[byte]string{3: "JobRemoved"})...)
	}
	absent := dbustest.Message(3, dbustest.Text("Unit "+unit+" not found."), "s", map[byte]string{4: "org.freedesktop.systemd1.NoSuchUnit"})
	start := func(s *detached.Starter) error { return s.Start(context.Background(), "a") }
	stop := func(s *detached.Starter) error { return s.Stop(context.Background(), "a") }
	for _, tt := range []struct {
		name   string
		before bool // a process runs that was started without systemd
		do     func(*detached.Starter) error
		answer []byte
		call   string
		err    string
		lives  bool // the process from before
	}{
		{"OK start", false, start, ends("done"), "StartUnit", "", false},
		{"OK start: the unit finds the process there, and so does who follows", true, start, ends("done"), "StartUnit", "", true},
		{"bad start: the unit is absent", false, start, absent, "StartUnit", "put deploy/systemd/weft-test@.service where weft-agent.service is", false},
		{"bad start: the unit is absent, and the process is left alone", true, start, absent, "StartUnit", "systemd has no unit " + unit, true},
		{"bad start: the job fails", false, start, ends("failed"), "StartUnit", "job failed; look: systemctl status " + unit, false},
		{"OK stop", false, stop, ends("done"), "StopUnit", "", false},
		{"OK stop: the unit is absent", false, stop, absent, "StopUnit", "", false},
		{"OK stop: the unit is absent, and the process ends", true, stop, absent, "StopUnit", "", false},
		{"bad stop: the job is cancelled", true, stop, ends("canceled"), "StopUnit", "job canceled", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoom(t)
			if tt.before {
				s, _ := r.starter()
				if err := s.Start(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
			}
			path, calls := dbustest.Systemd(t, tt.answer)
			with := *r
			with.systemd = path
			s, ended := with.starter()
			got := ""
			if err := tt.do(s); err != nil {
				got = err.Error()
			}
			if (tt.err == "") != (got == "") || !strings.Contains(got, tt.err) {
				t.Errorf("%q; want %q", got, tt.err)
			}
			call := <-calls
			if words := []string{"org.freedesktop.systemd1.Manager", tt.call, unit, "replace"}; slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(call, w) }) {
				t.Errorf("called %q; want %q", call, words)
			}
			if _, line := s.Mend("a"); line != "systemctl restart "+unit {
				t.Errorf("mended by %q", line)
			}
			if !tt.before {
				return
			}
			if pid := r.pid(); tt.lives != (unix.Kill(pid, 0) == nil && !zombie(pid)) {
				t.Errorf("process %d lives: %v", pid, !tt.lives)
			}
			if tt.lives && tt.call == "StartUnit" && tt.err == "" {
				r.kill()
				if e := <-ended; e.PID != r.pid() || e.Unit != unit || e.Log != "" {
					t.Errorf("told of %+v", e)
				}
			}
		})
	}
}
