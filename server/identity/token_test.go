package identity

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

func TestTokenSpecs(t *testing.T) {
	a := mustOpen(t, storetest.New(), t.TempDir())
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf("n%d", i)
	}
	cases := []struct {
		name string
		spec TokenSpec
		want string
	}{
		{"OK: all defaults", TokenSpec{}, ""},
		{"OK: everything", TokenSpec{TTL: time.Hour, Uses: 3, Nodes: []string{"n1"}, Labels: map[string]string{"weft/site": "fra"}, Description: "d", Replace: true}, ""},
		{"bad: replaces anybody", TokenSpec{Replace: true}, "weft token create --node NAME --replace"},
		{"bad: node name", TokenSpec{Nodes: []string{"n_1"}}, "n_1"},
		{"bad: too many nodes", TokenSpec{Nodes: many}, "at most 1000"},
		{"bad: label", TokenSpec{Labels: map[string]string{"a b": "c"}}, "a b"},
		{"bad: description", TokenSpec{Description: strings.Repeat("x", 257)}, "at most 256"},
	}
	for _, c := range cases {
		_, _, err := a.CreateToken(t.Context(), c.spec)
		if (err == nil) != (c.want == "") || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: want %q, got %v", c.name, c.want, err)
		}
	}
}

func TestTokenLives(t *testing.T) {
	a := mustOpen(t, storetest.New(), t.TempDir())
	for ttl, want := range map[time.Duration]time.Duration{0: 24 * time.Hour, time.Hour: time.Hour, -1: 0} {
		_, made, err := a.CreateToken(t.Context(), TokenSpec{TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		if life := time.Duration(made.ExpiresUnix-made.CreatedUnix) * time.Second; want == 0 && made.ExpiresUnix != 0 || want != 0 && life != want {
			t.Errorf("TTL %v: lives %v", ttl, life)
		}
	}
}

func TestRevokeToken(t *testing.T) {
	a := mustOpen(t, storetest.New(), t.TempDir())
	made, _, err := a.CreateToken(t.Context(), TokenSpec{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.RevokeToken(t.Context(), made.ID); err != nil {
		t.Error(err)
	}
	if err := a.RevokeToken(t.Context(), made.ID); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "weft token list") {
		t.Errorf("again: %v", err)
	}
	if list, err := a.Tokens(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("what is left: %v, %v", list, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema":1,"name":"n1","key":{"sha256":"00","endsUnix":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := store.Entry{Key: "k", Value: b}
		if n, err := decode[Node](e); err == nil && n.Schema != schema.Identity.Version() {
			t.Errorf("accepted %+v", n)
		}
		_, _ = decode[token](e)
		_, _ = decode[user](e)
	})
}

// FuzzRoots: whatever the store has of the CA, or another server hands over, it is
// opened whole or refused; what is opened can be shown.
func FuzzRoots(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, serverKeyFile)
	seal, err := makeServerKey(path)
	if err != nil {
		f.Fatal(err)
	}
	made, err := makeCA(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	next, err := makeCA(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	cross, err := made.cross(next.cert)
	if err != nil {
		f.Fatal(err)
	}
	held, err := (&roots{issuing: made, old: []oldRoot{{next.cert, cross, true}}}).encode(seal)
	if err != nil {
		f.Fatal(err)
	}
	coming, err := (&nextRoot{next, cross, time.Now()}).encode(seal)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(held, coming)
	f.Add(held, []byte("{}"))
	f.Add([]byte(`{"schema":1,"certificate":"AA=="}`), []byte(nil))
	f.Fuzz(func(t *testing.T, held, coming []byte) {
		e := store.Entry{Key: caNextKey, Value: coming}
		if len(coming) == 0 {
			e = store.Entry{}
		}
		r, err := openRoots(store.Entry{Key: caKey, Value: held}, e, path)
		if err != nil {
			return
		}
		if len(r.told()) == 0 || len(r.chain()) == 0 || len(r.hashes()) != len(r.trusted()) {
			t.Errorf("opened, it has no roots: %+v", r)
		}
	})
}
