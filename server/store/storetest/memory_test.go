package storetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/server/store"
)

func TestMemoryConforms(t *testing.T) {
	Conform(t, func(*testing.T) store.Store { return New() })
}

func TestMemoryPrints(t *testing.T) {
	m := New()
	must(t, m, store.Write{Key: "/b", Value: []byte(`{"a": 1}`)}, store.Write{Key: "/a", Value: []byte{}})
	must(t, m, store.Write{Key: "/c", Value: []byte{0, 1}})
	want := "revision 3\n/a @2 \"\"\n/b @2 {\"a\": 1}\n/c @3 \"\\x00\\x01\"\n"
	if d := cmp.Diff(want, m.String()); d != "" {
		t.Error(d)
	}
}

func TestFaults(t *testing.T) {
	lost := errors.New("answer lost")
	cases := []struct {
		name   string
		inject func(*Memory)
		want   error
		stored bool
	}{
		{"none", func(*Memory) {}, nil, true},
		{"a lost race", func(m *Memory) { m.Conflict(1) }, store.ErrConflict, false},
		{"a lost answer", func(m *Memory) { m.Inject(Fault{After: func(store.Txn) error { return lost }}) }, lost, true},
		{"away", (*Memory).Down, ErrDown, false},
	}
	for _, c := range cases {
		m := New()
		c.inject(m)
		txn := store.Txn{Then: []store.Write{{Key: "/a", Value: []byte("x")}}}
		if _, err := m.Commit(t.Context(), txn); !errors.Is(err, c.want) {
			t.Errorf("%s: want %v, got %v", c.name, c.want, err)
		}
		m.Inject(Fault{})
		if _, err := m.Get(t.Context(), "/a"); (err == nil) != c.stored {
			t.Errorf("%s: stored should be %v: %v", c.name, c.stored, err)
		}
	}
}

func TestCutWatches(t *testing.T) {
	m := New()
	done := make(chan error, 1)
	seen := make(chan struct{})
	go func() {
		done <- m.Watch(t.Context(), "/", 1, func(store.Batch) error { close(seen); return nil })
	}()
	must(t, m, store.Write{Key: "/a", Value: []byte("x")})
	<-seen
	m.CutWatches(store.ErrCompacted)
	if err := <-done; !errors.Is(err, store.ErrCompacted) {
		t.Errorf("want ErrCompacted, got %v", err)
	}
}

func must(t *testing.T, m *Memory, writes ...store.Write) {
	t.Helper()
	if _, err := m.Commit(t.Context(), store.Txn{Then: writes}); err != nil {
		t.Fatal(err)
	}
}
