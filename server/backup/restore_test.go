package backup

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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
	f := newFabric(t, "n1 10.42.0.0/24")
	before := f.what()
	file := f.save(ByHand)
	f.object(kind.ClusterConfig, kind.DefaultName, kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/15")}})
	f.object(kind.Node, "n9", kind.NodeSpec{}) // it joined, and was leased nothing yet
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

// While the CA is exchanged the store holds what nodes have said they trust: a backup
// of then is one like any other, and one that still holds such a word is, too.
func TestBackupDuringRotation(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	f.commit(store.Write{Key: trustPrefix + "n1", Value: []byte("5b0c")})
	file := f.save(ByHand)
	if err := f.restore(file.Name); err != nil {
		t.Fatal(err)
	}
	if got := f.get(trustPrefix + "n1"); got != "5b0c" {
		t.Errorf("n1 trusts %q", got)
	}

	in, err := f.room.Folder.Open(file.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out bytes.Buffer
	var w *writer
	put := false
	_, _, err = decode(in, func(h Header) error { w, err = newWriter(&out, h); return err }, func(e store.Entry) error {
		if !put && e.Key > trustPrefix {
			put = true
			err = errors.Join(err, w.add(store.Entry{Key: trustPrefix + "n1", Value: []byte("5b0c")}))
		}
		return errors.Join(err, w.add(e))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.close(); err != nil {
		t.Fatal(err)
	}
	c, err := read(&out)
	if _, there := c.values[trustPrefix+"n1"]; err != nil || there {
		t.Errorf("there %v: %v", there, err)
	}
}

// Who has which prefix is a fact: a restore takes nothing from anybody, and brings
// back what nobody has.
func TestRestoreOfLeases(t *testing.T) {
	const a, b, c, d = " 10.42.0.0/24", " 10.42.1.0/24", " 10.42.2.0/24", " 10.42.3.0/24"
	for _, row := range []struct {
		name   string
		backup []string
		now    []string // "-n1": deleted
		want   string
	}{
		{"leased since", []string{"n1" + a}, []string{"n2" + b}, "n1" + a + ", n2" + b},
		{"deleted since", []string{"n1" + a, "n2" + b}, []string{"-n2"}, "n1" + a + ", n2?" + b},
		{"deleted since, and another's", []string{"n1" + a, "n2" + b}, []string{"-n2", "n3" + b}, "n1" + a + ", n3" + b},
		{"one of two is another's", []string{"n1" + a, "n2" + b + c}, []string{"-n2", "n3" + c}, "n1" + a + ", n2?" + b + ", n3" + c},
		{"a part of it is another's", []string{"n1" + a, "n2 10.42.2.0/23"}, []string{"-n2", "n3" + d}, "n1" + a + ", n3" + d},
		{"grown since", []string{"n1" + a}, []string{"n1" + a + b}, "n1" + a + b},
		{"grown less since", []string{"n1" + a + b}, []string{"n1" + a, "n2" + b}, "n1" + a + ", n2" + b},
		{"they changed places", []string{"n1" + a, "n2" + b}, []string{"n1" + b, "n2" + a}, "n1" + b + ", n2" + a},
		{"renamed since", []string{"n1" + a}, []string{"-n1", "web1" + a}, "web1" + a},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFabric(t, row.backup...)
			file := f.save(ByHand)
			for _, words := range row.now {
				if gone, ok := strings.CutPrefix(words, "-"); ok {
					f.commit(store.Write{Key: kind.Key(kind.Lease, "", gone)})
					continue
				}
				f.lease(words)
			}
			for range 2 { // as often as one likes
				if err := f.restore(file.Name); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(row.want, f.leases()); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// A node that joined after the backup stays reachable, and in the fabric; of one that
// the backup knows, what it says counts.
func TestRestoreKeepsWhoJoinedSince(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	keys := func(node string) []string {
		return []string{kind.Key(kind.Node, "", node), kind.Key(kind.Report, "", node), store.Identity + "node/" + node}
	}
	file := f.save(ByHand)
	f.lease("n2 10.42.1.0/24")
	for _, node := range []string{"n1", "n2"} {
		f.object(kind.Node, node, kind.NodeSpec{})
		f.object(kind.Report, node, kind.ReportSpec{})
		f.commit(store.Write{Key: store.Identity + "node/" + node, Value: []byte(`{"schema":1,"name":"new"}`)})
	}
	f.commit(store.Write{Key: store.Leases + "rest/10.42.7.0_24", Value: []byte("kept")}, store.Write{Key: store.Disputes + "n3", Value: []byte("kept")})
	if err := f.restore(file.Name); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, key := range slices.Concat(keys("n1"), keys("n2"), []string{store.Leases + "rest/10.42.7.0_24", store.Disputes + "n3"}) {
		value := f.get(key)
		if strings.Contains(value, "kind") {
			value = "there"
		}
		got = append(got, value)
	}
	if diff := cmp.Diff([]string{"-", "-", `{"schema":1,"name":"n1"}`, "there", "there", `{"schema":1,"name":"new"}`, "kept", "kept"}, got); diff != "" {
		t.Error(diff)
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
