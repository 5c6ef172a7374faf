package backup

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc"
)

// files are the times of those made on schedule, the youngest first, in hours.
func (f *fabric) files(t *testing.T, start time.Time) string {
	list, err := f.room.Folder.List()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, file := range list {
		if file.Why == Scheduled {
			out = append(out, fmt.Sprint(file.Header.Time.Sub(start).Hours()))
		}
	}
	return strings.Join(out, " ")
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, "n1 10.42.0.0/24")
		f.room.Now = time.Now
		start := time.Now()
		run := func(d time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			if err := f.room.Run(ctx); err != nil {
				t.Fatal(err)
			}
		}
		run(13 * time.Hour)
		if got := f.files(t, start); got != "12 0" {
			t.Errorf("after 13 h: %s", got)
		}
		f.room = New(f.room.Config) // a restart is no reason for another
		run(48 * time.Hour)
		if got := f.files(t, start); got != "60 48 36" {
			t.Errorf("after 61 h, of which 3 are kept: %s", got)
		}
		s, err := f.room.State(t.Context())
		if err != nil || s.Last == nil || s.Last.Server != "s1" || time.Unix(s.Last.TimeUnix, 0).Sub(start) != 60*time.Hour || s.Failure != nil {
			t.Errorf("%+v, %v", s, err)
		}
		// Another server's turn, whose folder is empty: the store knows.
		f.room.Server, f.room.Folder, f.room.Peers = "s2", Folder{t.TempDir()}, peers{names: []string{"s1"}}
		run(10 * time.Hour)
		if got := f.files(t, start); got != "" {
			t.Errorf("another server, too early: %s", got)
		}
		run(2 * time.Hour)
		if got := f.files(t, start); got != "72" {
			t.Errorf("another server, in time: %s", got)
		}
	})
}

func TestScheduleFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t)
		f.room.Now = time.Now
		good := f.save(Scheduled)
		dir := f.room.Folder.Path
		whole, err := os.ReadFile(filepath.Join(dir, good.Name))
		if err != nil {
			t.Fatal(err)
		}
		f.room.Folder.Path = filepath.Join(dir, good.Name, "no-folder")
		ctx, cancel := context.WithTimeout(t.Context(), 13*time.Hour)
		defer cancel()
		if err := f.room.Run(ctx); err != nil {
			t.Fatal(err)
		}
		s, err := f.room.State(t.Context())
		if err != nil || s.Failure == nil || !strings.Contains(s.Failure.Cause, "not a directory") || s.Failure.Server != "s1" ||
			s.Failure.SinceUnix >= time.Now().Add(-50*time.Minute).Unix() {
			t.Errorf("%+v, %v", s.Failure, err)
		}
		if again, _ := os.ReadFile(filepath.Join(dir, good.Name)); string(again) != string(whole) {
			t.Error("the old backup was touched")
		}
		f.room.Folder.Path = dir
		f.save(Scheduled)
		if s, _ := f.room.State(t.Context()); s.Failure != nil {
			t.Errorf("%+v", s.Failure)
		}
	})
}

// A store that breaks off in the middle, and one that was restored meanwhile,
// leave no file and no half of one.
func TestSaveLeavesNothing(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	f.store.Inject(storetest.Fault{Read: func(key string) error {
		if key == "/weft/v1/" {
			return storetest.ErrDown
		}
		return nil
	}})
	if _, err := f.room.Save(t.Context(), ByHand); err == nil {
		t.Error("saved")
	}
	entries, err := os.ReadDir(f.room.Folder.Path)
	if err != nil || len(entries) > 0 {
		t.Error(entries, err)
	}
}

// TestAFailedSaveStands: a backup by hand that fails is a problem, until the next
// one is made.
func TestAFailedSaveStands(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	path := f.room.Folder.Path
	f.room.Folder.Path = path + "/file/none"
	if err := os.WriteFile(path+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.room.Save(t.Context(), ByHand); err == nil {
		t.Fatal("it was made")
	}
	if r, err := f.room.Report(t.Context()); err != nil || len(r.GetProblems()) != 1 || !strings.Contains(r.GetProblems()[0].GetCause(), "server s1 cannot make its backup: mkdir") {
		t.Error(r, err)
	}
	f.room.Folder.Path = path
	f.save(ByHand)
	if r, err := f.room.Report(t.Context()); err != nil || len(r.GetProblems()) != 0 {
		t.Error(r, err)
	}
}

func TestBackupProblems(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ago := func(d time.Duration) *Made { return &Made{Server: "s1", Name: "x", TimeUnix: now.Add(-d).Unix()} }
	for _, c := range []struct {
		name     string
		s        State
		interval time.Duration
		want     string
	}{
		{"none yet", State{}, time.Hour, ""},
		{"in time", State{Last: ago(time.Hour)}, time.Hour, ""},
		{"one is missing", State{Last: ago(2 * time.Hour)}, time.Hour, ""},
		{"two are missing", State{Last: ago(121 * time.Minute)}, time.Hour, "the last backup is of 2027-01-15T05:59:00Z, and one is due every 1h0m0s"},
		{"no schedule", State{Last: ago(121 * time.Minute)}, 0, ""},
		{"it failed", State{Last: ago(121 * time.Minute), Failure: &Failure{Server: "s2", Cause: "backup: no room"}}, time.Hour, "server s2 cannot make its backup: no room; the last is of 2027-01-15T05:59:00Z"},
		{"it failed, and there is none", State{Failure: &Failure{Server: "s2", Cause: "no room"}}, 0, "server s2 cannot make its backup: no room; there is none at all"},
	} {
		var got []string
		for _, p := range c.s.problems(now, c.interval) {
			got = append(got, p.GetCause())
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("%s: got %q, want %q", c.name, text, c.want)
		}
	}
}

// TestTheServerWithTheBackupsIsRemoved: what status says of backups goes by files
// that some server has, and the leader makes one when there is none.
func TestTheServerWithTheBackupsIsRemoved(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(f *fabric, s2 *Room)
		want   string // the figure and the problems, before the leader's turn
		after  string // the server that has the last one, after it
	}{
		{"nothing changed", func(*fabric, *Room) {}, "s2 manual []", "s2"},
		{"it was removed", func(f *fabric, _ *Room) { f.room.Peers = peers{} }, "- - [no server has a backup: the last, of 2027-01-15T09:00:00Z, was on server s2, which has it no more or was removed; weft backup save]", "s1"},
		{"it was removed, and another has an older one", func(f *fabric, s2 *Room) {
			p := f.room.Peers.(peers)
			f.room.Peers = peers{[]string{"s3"}, map[string]*grpc.ClientConn{"s3": p.conns["s2"]}}
		}, "s3 manual []", "s3"},
		{"it does not answer", func(f *fabric, _ *Room) { f.room.Peers = peers{names: []string{"s2"}} }, "s2 manual []", "s2"},
		{"its file was deleted", func(_ *fabric, s2 *Room) { s2.Folder.Path += "-none" }, "s2 manual []", "s1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, s2, _ := three(t)
			f.room.Interval = 12 * time.Hour
			f.saveOn(s2, ByHand)
			c.change(f, s2)
			r, err := f.room.Report(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var problems []string
			for _, p := range r.GetProblems() {
				problems = append(problems, p.GetCause()+"; "+p.GetRemedy())
			}
			why, _, _ := strings.Cut(r.GetName(), "-")
			if got := fmt.Sprint(cmp.Or(r.GetServer(), "-"), " ", cmp.Or(why, "-"), " ", problems); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if f.room.due(t.Context()) <= 0 {
				if err := f.room.scheduled(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			r, err = f.room.Report(t.Context())
			if err != nil || r.GetServer() != c.after || len(r.GetProblems()) > 0 {
				t.Error("after the leader's turn:", r, err)
			}
		})
	}
}
