package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/weft-net/weft/server/store"
	"go.etcd.io/etcd/server/v3/embed"
)

// TestFullAndMended: an etcd that reached its quota takes no writes until history
// is compacted, its file is defragmented, and the alarm is disarmed.
func TestFullAndMended(t *testing.T) {
	const quota = 8 << 20
	s, err := open(t.Context(), Config{DataDir: t.TempDir()}, func(c *embed.Config) { c.QuotaBackendBytes = quota })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	value := bytes.Repeat([]byte("x"), 256<<10)
	var full error
	for i := range 512 { // one key, over and over: all of it but the last is history
		_, full = s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: store.Fabric + "epoch", Value: fmt.Appendf(nil, "%d%s", i, value)}}})
		if full != nil {
			break
		}
	}
	if is, err := s.Full(t.Context()); full == nil || err != nil || !is {
		t.Fatal("not full:", full, is, err)
	}
	if err := s.CompactAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := s.Inspect(t.Context(), "")
	if err != nil || before.Quota != quota {
		t.Fatal(before, err)
	}
	if err := s.Defragment(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	after, err := s.Inspect(t.Context(), "")
	if err != nil || after.Size >= before.Size/2 {
		t.Errorf("from %d to %d bytes, %v", before.Size, after.Size, err)
	}
	if err := s.Disarm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if is, err := s.Full(t.Context()); err != nil || is {
		t.Error("still full:", is, err)
	}
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: store.Fabric + "k", Value: []byte("v")}}}); err != nil {
		t.Error("mended, and takes no writes:", err)
	}
}

// TestResetAndFresh: a member alone keeps its data, a fresh one has none, and what
// was there is aside.
func TestResetAndFresh(t *testing.T) {
	c := Config{DataDir: t.TempDir()}
	if _, _, err := Reset(t.Context(), c); err == nil {
		t.Error("nothing was reset")
	}
	s, err := Embed(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: store.Fabric + "k", Value: []byte("v")}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, aside, err := Reset(t.Context(), c)
	if err != nil || aside == "" {
		t.Fatal(aside, err)
	}
	if e, err := s.Get(t.Context(), store.Fabric+"k"); err != nil || string(e.Value) != "v" {
		t.Error(e, err)
	}
	if err := errors.Join(s.Close(), inspect(aside)); err != nil {
		t.Error(err)
	}
	c.DataDir += "/fresh"
	if s, aside, err = Fresh(t.Context(), c); err != nil || aside != "" {
		t.Fatal(aside, err)
	}
	_ = s.Close()
	if s, aside, err = Fresh(t.Context(), c); err != nil || aside == "" {
		t.Fatal(aside, err)
	}
	if _, err := s.Get(t.Context(), store.Fabric+"k"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	_ = s.Close()
}
