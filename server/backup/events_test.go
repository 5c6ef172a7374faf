package backup

import (
	"fmt"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/journal"
)

// What a room tells: backups that were made, or not, and restores.
func TestEvents(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	var got []string
	names := regexp.MustCompile(`(manual|before-restore)-\S+gz|revision \d+|/\S+: `)
	tell := func(e journal.Event) {
		got = append(got, fmt.Sprint(e.Kind, " ", e.Object, " ", e.Reason, ": ", names.ReplaceAllString(e.Message, "$1…"), " ", e.Actor))
	}
	f.room.Note = tell
	file := f.save(ByHand)
	m, err := f.room.Begin(t.Context(), file.Name, "admin ops")
	if err == nil {
		err = f.room.Finish(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
	tell(m.Event())
	f.room.Folder.Path = filepath.Join(f.room.Folder.Path, file.Name, "no-folder")
	if _, err := f.room.Save(t.Context(), ByHand); err == nil {
		t.Error("saved into a file")
	}
	want := []string{
		" Server/s1 BackupSaved: manual…, of … ",
		"Warning Fabric RestoreBegan: of manual… on server s1; what was there is saved as before-restore… admin ops",
		"Warning Fabric Restored: epoch 2 began, of backup manual… admin ops",
		"Warning Server/s1 BackupFailed: mkdir …not a directory ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
