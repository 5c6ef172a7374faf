package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// restore runs one to its end.
func (f *fabric) restore(file string) error {
	m, err := f.room.Begin(f.Context(), file, "operator")
	if err != nil {
		return err
	}
	return f.room.Finish(f.Context(), m)
}

func TestRestore(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24", "n2 10.42.1.0/24", "n3 10.42.2.0/24")
	before := f.what()
	file := f.save(ByHand)
	f.commit(store.Write{Key: kind.Key(kind.Lease, "", "n2")})
	f.lease("n3 10.42.9.0/24")
	f.lease("n4 10.42.3.0/24")
	f.commit(store.Write{Key: store.Root + "journal/events/1", Value: []byte("kept")})
	f.commit(store.Write{Key: store.Root + "servers/s2", Value: []byte("kept")})
	after := f.what()
	if err := f.restore(file.Name); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, f.what()); diff != "" {
		t.Error(diff)
	}
	got := fmt.Sprintln(f.get(keyOrdinal), f.get(store.Fence) == f.get(keyEpoch), f.get(keyEpoch) != "e1", f.get(keyID), f.get(store.Restore), f.get(store.Direction),
		f.get(store.Root+"journal/events/1"), f.get(store.Root+"servers/s2"), f.get(store.Observed+"node/n1"))
	if got != "2 true true id1 - down kept kept {}\n" {
		t.Error(got)
	}
	// What was replaced is a backup like any other: the restore can be undone.
	files, err := f.room.Folder.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, aside := range files {
		if aside.Why == Aside {
			if err := f.restore(aside.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(after, f.what()); diff != "" || f.get(keyOrdinal) != "3" {
		t.Error(f.get(keyOrdinal), diff)
	}
}

// errCrash is a server that dies before or after one of its writes.
var errCrash = errors.New("crash")

func TestRestoreCrashedAtEachStep(t *testing.T) {
	for step := 0; ; step++ {
		f := newFabric(t)
		for i := range 250 {
			f.lease(fmt.Sprintf("n%d 10.42.%d.0/24", i, i))
		}
		before := f.what()
		file := f.save(ByHand)
		for i := range 250 {
			f.commit(store.Write{Key: kind.Key(kind.Lease, "", fmt.Sprintf("n%d", i))})
		}
		left := step / 2
		crash := func(store.Txn) error {
			if left--; left < 0 {
				return errCrash
			}
			return nil
		}
		f.store.Inject(storeFault(step%2 == 0, crash))
		m, err := f.room.Begin(t.Context(), file.Name, "")
		if err == nil {
			err = f.room.Finish(t.Context(), m)
		}
		f.store.Inject(storeFault(true, nil))
		if err == nil {
			if left < 0 {
				t.Errorf("step %d: the crash went unseen", step)
			}
			t.Logf("%d steps", step)
			return
		}
		resume(t, f, before, step)
	}
}

// resume is what a server does when it starts: it looks for the marker.
func resume(t *testing.T, f *fabric, before string, step int) {
	t.Helper()
	m, marked, err := Marked(t.Context(), f.store)
	if err != nil {
		t.Fatal(err)
	}
	switch restored := f.get(store.Restored) != "-"; {
	case marked && restored:
		t.Errorf("step %d: the epoch began, and the marker is there", step)
	case marked:
		if got := f.get(store.Fence); got != "restoring "+m.Epoch {
			t.Errorf("step %d: marked, and the fence says %s", step, got)
		}
		other := New(Config{Store: f.store, Folder: Folder{t.TempDir()}, Server: "s2"})
		if err := other.Finish(t.Context(), m); !errors.Is(err, ErrElsewhere) || !strings.Contains(err.Error(), m.File+" of server s1; start that server, or copy") {
			t.Errorf("step %d: without the file: %v", step, err)
		}
		if err := f.room.Finish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		fallthrough
	case restored:
		if diff := cmp.Diff(before, f.what()); diff != "" || f.get(keyOrdinal) != "2" {
			t.Errorf("step %d: %s", step, diff)
		}
	default:
		if f.get(keyEpoch) != "e1" || f.get(store.Fence) != "e1" {
			t.Errorf("step %d: nothing began, and the epoch is %s", step, f.get(keyEpoch))
		}
	}
}

func TestRestoreRefused(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	other := newFabric(t)
	other.commit(store.Write{Key: keyID, Value: []byte("id2")}, store.Write{Key: keyName, Value: []byte("lab")})
	foreign := other.save(ByHand)
	b, err := os.ReadFile(filepath.Join(other.room.Folder.Path, foreign.Name))
	if err != nil {
		t.Fatal(err)
	}
	good := f.save(ByHand)
	broken := strings.Replace(good.Name, "manual", "auto", 1)
	goodBytes, _ := os.ReadFile(filepath.Join(f.room.Folder.Path, good.Name))
	f.now = f.now.Add(time.Hour)
	for name, b := range map[string][]byte{foreign.Name + "x": b, "given-20270115T080000Z-r9.weft.gz": b, broken: goodBytes[:len(goodBytes)/2]} {
		if err := os.WriteFile(filepath.Join(f.room.Folder.Path, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := f.store.String()
	for _, c := range []struct{ file, want string }{
		{"given-20270115T080000Z-r9.weft.gz", `it is a backup of another fabric: it holds "lab" (id id2, CA -), and this is "prod" (id id1, CA -); nothing was changed`},
		{broken, "the file ends too soon or is damaged: unexpected EOF; nothing was changed"},
		{foreign.Name + "x", "is no backup of this server; see: weft backup ls"},
		{"../server.key", "is no backup of this server"},
		{"auto-20200101T000000Z-r1.weft.gz", "there is no auto-20200101T000000Z-r1.weft.gz in"},
	} {
		if _, err := f.room.Begin(t.Context(), c.file, ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.file, err, c.want)
		}
	}
	if after := f.store.String(); after != before {
		t.Error(cmp.Diff(before, after))
	}
}

func TestTwoRestoresAtOnce(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	file := f.save(ByHand)
	m, err := f.room.Begin(t.Context(), file.Name, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.room.Begin(t.Context(), file.Name, ""); err == nil || !strings.Contains(err.Error(), "another restore is on its way") {
		t.Error(err)
	}
	if err := f.room.Finish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := f.room.Finish(t.Context(), m); !errors.Is(err, store.ErrConflict) {
		t.Error(err)
	}
}
