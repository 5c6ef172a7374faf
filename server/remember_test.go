package server

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/store/storetest"
)

// What a call did that ended an epoch is written down though the rooms that served it
// are gone, and though the store did not take it at first.
func TestTheJournalOutlivesAnEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		s := &site{Config: Config{Log: slog.New(slog.DiscardHandler)}, own: members.Own{Name: "s1"}}
		stop := s.remember(m)
		s.note("ServerStarted", "release test")
		time.Sleep(2 * time.Second)
		m.Down()
		within, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.journal.Record(within, journal.Act{At: time.Now(), User: "ops", Method: "weft.v1.Backups/Restore", Outcome: "OK"}); err == nil {
			t.Error("stored in a store that is down")
		}
		s.journal.Note(journal.Event{Object: "Fabric", Reason: "RestoreBegan"})
		m.Inject(storetest.Fault{})
		s.tell(t.Context(), m, backup.Marker{Ordinal: 2, File: "a"}.Event())
		s.note("ServerStopped", "it was told to")
		stop()
		events, _, err := s.journal.Events(t.Context(), journal.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events {
			got = append(got, fmt.Sprint(e.Reason, " x", e.Count))
		}
		acts, err := s.journal.Acts(t.Context(), journal.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range acts {
			got = append(got, a.Method)
		}
		if diff := cmp.Diff([]string{"ServerStarted x1", "RestoreBegan x1", "Restored x1", "ServerStopped x1", "weft.v1.Backups/Restore"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Whoever comes meanwhile hears which restore it is; who asked for it is not told to
// those who have not shown who they are.
func TestExcuse(t *testing.T) {
	var e excuse
	m := backup.Marker{File: "auto-1", Server: "s1", By: "admin ops", StartedUnix: 1_800_000_000}
	for _, c := range []struct {
		set  func()
		want string
	}{
		{func() {}, "a backup is being restored, and no server serves until that is done; data paths run on. Try again in a moment; if it lasts, the servers' logs say what is missing"},
		{func() { e.of(m) }, "a restore of auto-1 on server s1 is under way, since 2027-01-15T08:00:00Z; no server serves until it is done, and nothing is changed by what is asked meanwhile; data paths run on. Try again in a moment; if it lasts, the servers' logs say what is missing"},
		{func() { e.waits(m, "s3") }, "a restore of auto-1 on server s1 is under way, since 2027-01-15T08:00:00Z; no server serves until it is done, and nothing is changed by what is asked meanwhile; data paths run on. Server s3 has not got the file and waits for server s1: start that one, or see the log of s3"},
	} {
		c.set()
		if diff := cmp.Diff("rpc error: code = Unavailable desc = "+c.want, e.err().Error()); diff != "" {
			t.Error(diff)
		}
	}
}
