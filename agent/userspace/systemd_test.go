package userspace_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/dbus/dbustest"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
	"github.com/weft-net/weft/agent/userspace"
)

// TestSystemd: the unit of a device is started and stopped, and what becomes of that
// is waited for.
func TestSystemd(t *testing.T) {
	const job = "/org/freedesktop/systemd1/job/7"
	const weft = "weft-wireguard@weft-wg0.service"
	answer := dbustest.Message(2, dbustest.Text(job), "o", nil)
	other := dbustest.Message(4, dbustest.Removed("/org/freedesktop/systemd1/job/6", "other.service", "failed"), "uoss", map[byte]string{3: "JobRemoved"})
	ends := func(result string) []byte {
		return dbustest.Message(4, dbustest.Removed(job, weft, result), "uoss", map[byte]string{3: "JobRemoved"})
	}
	all := func(list ...[]byte) (out []byte) {
		for _, b := range list {
			out = append(out, b...)
		}
		return out
	}
	none := dbustest.Message(3, dbustest.Text("Unit "+weft+" not found."), "s", map[byte]string{4: "org.freedesktop.systemd1.NoSuchUnit"})
	for _, tt := range []struct {
		name   string
		do     func(*userspace.Starter) error
		answer []byte
		call   string
		err    string
	}{
		{"OK start", start, all(answer, other, ends("done")), "StartUnit", ""},
		{"OK start, and the end is said first", start, all(ends("done"), answer), "StartUnit", ""},
		{"OK stop", stop, all(answer, ends("done")), "StopUnit", ""},
		{"OK stop what there is no unit of", stop, none, "StopUnit", ""},
		{"bad start: it fails", start, all(answer, ends("failed")), "StartUnit", "job failed; look: systemctl status " + weft},
		{"bad start: no such unit", start, none, "StartUnit", "put deploy/systemd/weft-wireguard@.service where weft-agent.service is"},
		{"bad start: it says nonsense", start, []byte("x 0123456789012345"), "StartUnit", "byte order"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kerneltest.Netns(t)
			path, calls := dbustest.Systemd(t, tt.answer)
			s, err := userspace.NewStarter(userspace.StarterConfig{Systemd: path})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got := ""
			if err := tt.do(s); err != nil {
				got = err.Error()
			}
			if (tt.err == "") != (got == "") || !strings.Contains(got, tt.err) {
				t.Errorf("%q; want %q", got, tt.err)
			}
			call := <-calls
			for _, words := range []string{"org.freedesktop.systemd1.Manager", tt.call, weft, "replace"} {
				if !strings.Contains(call, words) {
					t.Errorf("the call has no %q: %q", words, call)
				}
			}
		})
	}
	t.Run("bad start: nobody listens", func(t *testing.T) {
		s, err := userspace.NewStarter(userspace.StarterConfig{Systemd: filepath.Join(t.TempDir(), "none")})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if d := cmp.Diff(true, strings.Contains(start(s).Error(), "no such file")); d != "" {
			t.Error(d)
		}
	})
}

func start(s *userspace.Starter) error { return s.Start(context.Background(), dev) }

func stop(s *userspace.Starter) error { return s.Stop(context.Background(), dev) }
