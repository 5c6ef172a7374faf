package backup

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/store"
)

// between calls step before each operation, the first as 0.
type between struct {
	Store
	operations int
	step       func(operation int)
}

func (b *between) tick() {
	n := b.operations
	b.operations++
	b.step(n)
}

func (b *between) Get(ctx context.Context, key string) (store.Entry, error) {
	b.tick()
	return b.Store.Get(ctx, key)
}

func (b *between) List(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	b.tick()
	return b.Store.List(ctx, prefix)
}

func (b *between) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	b.tick()
	return b.Store.Commit(ctx, txn)
}

func (b *between) Snapshot(ctx context.Context, prefix string, skip []string, fn func([]store.Entry, int64) error) error {
	b.tick()
	return b.Store.Snapshot(ctx, prefix, skip, fn)
}

// rival is another server over the same store, with a backup of its own, between
// whose operations something happens.
func (f *fabric) rival(step func(operation int)) (*Room, *between) {
	b := &between{Store: f.store, step: step}
	c := f.room.Config
	c.Store, c.Folder, c.Server = b, Folder{f.TempDir()}, "s3"
	return New(c), b
}

// twoBackups are of a fabric in which a key is A, then B, and now C.
func twoBackups(t *testing.T, step func(operation int)) (f *fabric, rival *Room, fileA, fileB string) {
	t.Helper()
	f = newFabric(t, "n1 10.42.0.0/24")
	rival, ops := f.rival(func(int) {})
	set := func(v string) {
		f.commit(store.Write{Key: store.Fabric + "what", Value: []byte(v)})
	}
	set(`"A"`)
	fileA = f.save(ByHand).Name
	set(`"B"`)
	b, err := rival.Save(t.Context(), ByHand)
	if err != nil {
		t.Fatal(err)
	}
	set(`"C"`)
	f.now = f.now.Add(time.Minute)
	ops.operations, ops.step = 0, step
	return f, rival, fileA, b.Name
}

var namesOfFiles = regexp.MustCompile(`(manual|before-restore)-\S+gz`)

// Of two restores one begins, wherever in the other's way it comes: one that begins
// later goes from what the first left, and the other is refused with nothing changed.
func TestTwoRestoresInterleaved(t *testing.T) {
	for _, whole := range []bool{false, true} { // the other is at its end already
		for at := 0; ; at++ {
			var f *fabric
			var file string
			var first Marker
			came := false
			f, rival, file, fileB := twoBackups(t, func(operation int) {
				if operation != at {
					return
				}
				came = true
				var err error
				if first, err = f.room.Begin(t.Context(), file, "admin ops"); err == nil && whole {
					err = f.room.Finish(t.Context(), first)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			second, err := rival.Begin(t.Context(), fileB, "admin other")
			if !came { // it had begun before
				t.Logf("whole %v: %d operations", whole, at)
				break
			}
			where := fmt.Sprintf("whole %v, operation %d", whole, at)
			if err == nil {
				later(t, f, rival, second, where)
				if !whole {
					t.Errorf("%s: a second restore began while one was on its way", where)
				}
				continue
			}
			refused(t, f, err, where)
			if !whole {
				if err := f.room.Finish(t.Context(), first); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			}
			if got := f.get(store.Fabric+"what") + f.get(keyOrdinal) + f.get(keyEpoch) + f.get(store.Restore); got != `"A"2`+first.Epoch+"-" {
				t.Errorf("%s: %s", where, got)
			}
		}
	}
}

func refused(t *testing.T, f *fabric, err error, where string) {
	t.Helper()
	text := namesOfFiles.ReplaceAllString(err.Error(), "$1…")
	if !errors.Is(err, ErrUnderWay) || !strings.Contains(text, "nothing was changed") ||
		!strings.Contains(text, "a restore of manual… by admin ops on s1 is under way, since 2027-01-15T08:01:00Z") &&
			!strings.Contains(text, "a restore of manual… by admin ops on s1 began epoch 2 meanwhile, at 2027-01-15T08:01:00Z") {
		t.Errorf("%s: %v", where, err)
	}
}

// later is a restore that began after another: its epoch is the next, and what it
// saved is what the first had left.
func later(t *testing.T, f *fabric, rival *Room, second Marker, where string) {
	t.Helper()
	if err := rival.Finish(t.Context(), second); err != nil {
		t.Errorf("%s: %v", where, err)
	}
	if got := f.get(store.Fabric+"what") + f.get(keyOrdinal); got != `"B"3` || second.From != 2 {
		t.Errorf("%s: %s, from %d", where, got, second.From)
	}
	c, _, err := rival.open(t.Context(), second.Aside)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if got := string(c.values[store.Fabric+"what"]); got != `"A"` || c.Ordinal != 2 {
		t.Errorf("%s: saved is %s of epoch %d", where, got, c.Ordinal)
	}
}

func TestOneRestoreAtATime(t *testing.T) {
	f, rival, fileA, fileB := twoBackups(t, func(int) {})
	m, err := f.room.Begin(t.Context(), fileA, "")
	if err != nil {
		t.Fatal(err)
	}
	before := f.store.String()
	for room, file := range map[*Room]string{f.room: fileA, rival: fileB} { // the same again, and another
		_, err := room.Begin(t.Context(), file, "")
		want := "backup: a restore of " + fileA + " on s1 is under way, since 2027-01-15T08:01:00Z; nothing was changed"
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
		if _, err := room.Save(t.Context(), ByHand); err == nil {
			t.Error("what is half restored was saved as a backup")
		}
	}
	if diff := cmp.Diff(before, f.store.String()); diff != "" {
		t.Error(diff)
	}
	if err := f.room.Finish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := f.room.Finish(t.Context(), m); !errors.Is(err, store.ErrConflict) {
		t.Error(err)
	}
}

// A mark whose answer was lost is one's own.
func TestAMarkWhoseAnswerWasLost(t *testing.T) {
	f, _, file, _ := twoBackups(t, func(int) {})
	f.store.Inject(storeFault(false, func(txn store.Txn) error {
		if txn.If[0].Key == store.Restore {
			return errCrash
		}
		return nil
	}))
	m, err := f.room.Begin(t.Context(), file, "")
	if err != nil {
		t.Fatal(err)
	}
	f.store.Inject(storeFault(true, nil))
	if err := f.room.Finish(t.Context(), m); err != nil || f.get(keyOrdinal) != "2" {
		t.Error(err, f.get(keyOrdinal))
	}
}
