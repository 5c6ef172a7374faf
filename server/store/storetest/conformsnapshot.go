package storetest

import (
	"context"
	"fmt"
	"strings"

	"github.com/weft-net/weft/server/store"
)

// shooter is a store that can be read whole as of one revision.
type shooter interface {
	Snapshot(ctx context.Context, prefix string, skip []string, fn func([]store.Entry, int64) error) error
}

// snapshot reads more than a page while more is written.
func (c conform) snapshot() {
	s, ok := c.s.(shooter)
	if !ok {
		c.Fatalf("%T has no Snapshot", c.s)
	}
	var want []string
	for i := range 1100 {
		if i%100 == 0 {
			var txn store.Txn
			for j := range 100 {
				name := fmt.Sprintf("b/%04d", i+j)
				txn.Then = append(txn.Then, store.Write{Key: c.prefix + name, Value: []byte("1")})
				want = append(want, name)
			}
			if _, err := c.s.Commit(c.ctx, txn); err != nil {
				c.Fatal(err)
			}
		}
	}
	last := c.commit("+a/x=1 +bb=1 +c=1")
	want = append(want, "bb", "c")
	var got []string
	err := s.Snapshot(c.ctx, c.prefix, []string{c.prefix + "a/", "/elsewhere/"}, func(entries []store.Entry, revision int64) error {
		if revision != last {
			return fmt.Errorf("a page of revision %d; the first look was at %d", revision, last)
		}
		for _, e := range entries {
			got = append(got, strings.TrimPrefix(e.Key, c.prefix))
		}
		c.commit("+c=2 +d=1 -b/0000")
		return nil
	})
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		c.Fatalf("got %d keys, want %d: %v", len(got), len(want), err)
	}
}
