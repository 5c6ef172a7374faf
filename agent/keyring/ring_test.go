package keyring

import (
	"bytes"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/schema"
)

func open(t *testing.T, path string) *Ring {
	t.Helper()
	dir, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close() // a ring writes through its path; another may hold the folder next
	r, err := Open(dir, Config{Now: func() time.Time { return time.Unix(1795000000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSlots goes through a rotation; after each step another process finds the same.
func TestSlots(t *testing.T) {
	path := t.TempDir()
	r := open(t, path)
	var first, second intent.Key
	for _, step := range []struct {
		name string
		do   func() error
		want func() []intent.Slot
	}{
		{"nothing at first", func() error { return nil }, func() []intent.Slot { return nil }},
		{"a key", func() error { return r.Need(0, 51820) }, func() []intent.Slot { return []intent.Slot{{Slot: 0, Key: first, Port: 51820}} }},
		{"needed again", func() error { return r.Need(0, 51820) }, func() []intent.Slot { return []intent.Slot{{Slot: 0, Key: first, Port: 51820}} }},
		{"another port", func() error { return r.Need(0, 4500) }, func() []intent.Slot { return []intent.Slot{{Slot: 0, Key: first, Port: 4500}} }},
		{"the other slot", func() error { return r.Need(1, 51821) }, func() []intent.Slot {
			return []intent.Slot{{Slot: 0, Key: first, Port: 4500}, {Slot: 1, Key: second, Port: 51821}}
		}},
		{"the first leaves", func() error { return r.Leave(0) }, func() []intent.Slot {
			return []intent.Slot{{Slot: 0, Key: first, Port: 4500, Leaving: true}, {Slot: 1, Key: second, Port: 51821}}
		}},
		{"and is gone", func() error { return r.Drop(0) }, func() []intent.Slot { return []intent.Slot{{Slot: 1, Key: second, Port: 51821}} }},
		{"and gone twice", func() error { return r.Drop(0) }, func() []intent.Slot { return []intent.Slot{{Slot: 1, Key: second, Port: 51821}} }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for _, s := range r.Slots() {
			if s.Slot == 0 && first == (intent.Key{}) {
				first = s.Key
			} else if s.Slot == 1 && second == (intent.Key{}) {
				second = s.Key
			}
		}
		for who, ring := range map[string]*Ring{"it": r, "another": open(t, path)} {
			if d := cmp.Diff(step.want(), ring.Slots()); d != "" {
				t.Errorf("%s, %s: %s", step.name, who, d)
			}
		}
	}
	if made, ok := r.Made(1); !ok || made.Unix() != 1795000000 {
		t.Errorf("made %v, %v", made, ok)
	}
	if first == second {
		t.Error("both slots have one key")
	}
	if _, ok := r.Private(first); ok {
		t.Error("a dropped key is still there")
	}
	priv, ok := r.Private(second)
	if k, err := ecdh.X25519().NewPrivateKey(priv[:]); !ok || err != nil || intent.Key(k.PublicKey().Bytes()) != second {
		t.Errorf("the private key is not that of %v: %v, %v", second, ok, err)
	}
}

// TestShift: it is found by the next process, beside the keys; a file of a release that
// did not know it has none.
func TestShift(t *testing.T) {
	path := t.TempDir()
	r := open(t, path)
	if err := errors.Join(r.Need(0, 51820), r.SetShift(7)); err != nil {
		t.Fatal(err)
	}
	if again := open(t, path); again.Shift() != 7 || !slices.Equal(again.Slots(), r.Slots()) {
		t.Errorf("shift %d, slots %v; want 7, %v", again.Shift(), again.Slots(), r.Slots())
	}
	if err := r.SetShift(intent.PortShifts + 1); err == nil || r.Shift() != 7 {
		t.Errorf("a shift of too many: %v, %d", err, r.Shift())
	}
	if err := r.SetShift(0); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(path, name))
	if err != nil || bytes.Contains(b, []byte("shift")) {
		t.Errorf("%v: %s", err, b)
	}
}

func TestPreshared(t *testing.T) {
	path := t.TempDir()
	r := open(t, path)
	of := Tunnel{Peer: "n2", Own: intent.Key{1}, Theirs: intent.Key{2}}
	keys := [][32]byte{{1}, {2}, {3}}
	var ids [][32]byte
	for _, k := range keys {
		id, err := r.SetPreshared(of, k)
		if err != nil {
			t.Fatal(err)
		}
		if id != sha256.Sum256(k[:]) {
			t.Errorf("id %x", id)
		}
		ids = append(ids, id)
	}
	other := Tunnel{Peer: "n2", Slot: 1, Own: intent.Key{3}, Theirs: intent.Key{4}}
	if _, err := r.SetPreshared(other, [32]byte{4}); err != nil {
		t.Fatal(err)
	}
	elsewhere := of
	elsewhere.Theirs = intent.Key{5}
	for _, ring := range []*Ring{r, open(t, path)} {
		id, made, ok := ring.PresharedOf(of)
		if !ok || id != ids[2] || made.Unix() != 1795000000 {
			t.Errorf("of n2: %x, %v, %v", id, made, ok)
		}
		if _, _, ok := ring.PresharedOf(elsewhere); ok {
			t.Error("a tunnel with another key has that one's")
		}
		for i, want := range []bool{false, true, true} {
			if k, ok := ring.Preshared(ids[i]); ok != want || ok && k != keys[i] {
				t.Errorf("key %d: %v", i, ok)
			}
		}
	}
	if err := r.DropPreshared(ids[2]); err != nil {
		t.Fatal(err)
	}
	if id, _, ok := r.PresharedOf(of); !ok || id != ids[1] {
		t.Errorf("after the newest was dropped: %x, %v", id, ok)
	}
	has := func(of Tunnel) bool { _, _, ok := r.PresharedOf(of); return ok }
	if err := r.Drop(0); err != nil || has(of) || !has(other) {
		t.Errorf("after a slot was dropped: %v, %v: %v", has(of), has(other), err)
	}
	if err := r.KeepPreshared(func(peer string) bool { return peer == "n2" }); err != nil || !has(other) {
		t.Errorf("of a peer that stays: %v", err)
	}
	if err := r.KeepPreshared(func(string) bool { return false }); err != nil || has(other) {
		t.Errorf("of a peer that is gone: %v", err)
	}
}

func TestRefused(t *testing.T) {
	r := open(t, t.TempDir())
	for name, err := range map[string]error{
		"slot 2":        r.Need(2, 51820),
		"port 0":        r.Need(0, 0),
		"leave nothing": r.Leave(0),
		"no peer":       second(r.SetPreshared(Tunnel{}, [32]byte{1})),
		"zero key":      second(r.SetPreshared(Tunnel{Peer: "n2"}, [32]byte{})),
		"peer's slot 2": second(r.SetPreshared(Tunnel{Peer: "n2", Slot: 2}, [32]byte{1})),
	} {
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := r.Leave(1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("leave: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestUnwritable: a key that could not be put on the disk is not there.
func TestUnwritable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	r := open(t, path)
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := r.Need(0, 51820); err == nil || len(r.Slots()) > 0 {
		t.Errorf("%v, slots %v", err, r.Slots())
	}
}

// TestUnreadable: what cannot be read is set aside, refused if it is a later
// release's, and in no case repeated.
func TestUnreadable(t *testing.T) {
	const private = "EBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8="
	slot := `{"slot":0,"port":51820,"private":"` + private + `"}`
	for name, text := range map[string]string{
		"cut":             `{"schema":1,"slots":[` + slot,
		"not base64":      `{"schema":1,"slots":[{"slot":0,"port":51820,"private":"` + private + `!"}]}`,
		"short":           `{"schema":1,"slots":[{"slot":0,"port":51820,"private":"EBES"}]}`,
		"no port":         `{"schema":1,"slots":[{"slot":0,"private":"` + private + `"}]}`,
		"slot 2":          `{"schema":1,"slots":[{"slot":2,"port":51820,"private":"` + private + `"}]}`,
		"twice":           `{"schema":1,"slots":[` + slot + `,` + slot + `]}`,
		"schema 0":        `{"slots":[` + slot + `]}`,
		"shift":           `{"schema":1,"slots":[` + slot + `],"shift":65}`,
		"preshared short": `{"schema":1,"preshared":[{"peer":"n2","slot":0,"key":"EBES"}]}`,
		"preshared zero":  `{"schema":1,"preshared":[{"peer":"n2","slot":0,"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`,
		"preshared of no": `{"schema":1,"preshared":[{"peer":"n2","slot":0,"key":"` + private + `"}]}`,
		"preshared of 2":  `{"schema":1,"preshared":[{"peer":"n2","slot":2,"key":"` + private + `"}]}`,
	} {
		path, log := t.TempDir(), &bytes.Buffer{}
		if err := os.WriteFile(filepath.Join(path, name_), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		dir, err := datadir.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open(dir, Config{Log: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil || len(r.Slots()) > 0 {
			t.Errorf("%s: %v", name, err)
		}
		if dir.Aside(name_) == "" {
			t.Errorf("%s: not set aside", name)
		}
		if strings.Contains(log.String(), private[:12]) {
			t.Errorf("%s: the log repeats the key: %s", name, log)
		}
		dir.Close()
	}
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, name_), fmt.Appendf(nil, `{"schema":%d}`, schema.Keyring.Version()+1), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := Open(dir, Config{}); !errors.As(err, new(schema.Newer)) {
		t.Errorf("a later release's: %v", err)
	}
}

const name_ = name // where name is a case's

// TestSecret: the file is for nobody else, and no way to print a ring shows a key.
func TestSecret(t *testing.T) {
	path := t.TempDir()
	r := open(t, path)
	if err := r.Need(0, 51820); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SetPreshared(Tunnel{Peer: "n2"}, [32]byte{9, 9, 9}); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(filepath.Join(path, name)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	priv, _ := r.Private(r.Slots()[0].Key)
	for _, printed := range []string{
		fmt.Sprintf("%v %+v %#v %d", r.held, r.held, r.held, r.held),
		fmt.Sprintf("%v %+v %#v %d", r, r, r, r),
		fmt.Sprintf("%v %x", r.held.slots[0].private, r.held.shared[0].key),
		fmt.Sprintf("%v %x", r.held.slots[0], r.held.shared[0]),
	} {
		for _, hidden := range []string{base64.StdEncoding.EncodeToString(priv[:]), fmt.Sprint(priv)[1:20], fmt.Sprintf("0x%x", priv[0]), fmt.Sprintf("%x", priv[:6]), "9 9 9", "090909"} {
			if strings.Contains(printed, hidden) {
				t.Errorf("printed: %s", printed)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	var k keys
	for slot := range uint8(2) {
		h, err := generate(slot, time.Unix(1795000000, 0))
		if err != nil {
			f.Fatal(err)
		}
		h.Port = 51820
		k.slots = append(k.slots, h)
	}
	k.shared = []shared{newShared(Tunnel{Peer: "n2", Slot: 1}, secret{1}, time.Unix(1795000000, 0))}
	f.Add(k.encode())
	k.shift = intent.PortShifts
	f.Add(k.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := decode(b)
		if err != nil {
			return
		}
		if again, err := decode(k.encode()); err != nil || !again.equal(k) {
			t.Errorf("%v after a round trip: %v", again, err)
		}
	})
}
