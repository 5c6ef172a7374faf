package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/server/store"
)

// Conform runs the suite that every store passes. open is called once; each case
// works below a prefix of its own, so that the store may be shared. A store must
// have Compact(ctx, revision) beside store.Store.
func Conform(t *testing.T, open func(t *testing.T) store.Store) {
	s := open(t)
	cases := []struct {
		name string
		run  func(c conform)
	}{
		{"get answers ErrNotFound for what is not there", conform.absent},
		{"a write moves the revision and keeps the creation", conform.write},
		{"conditions hold or nothing is written", conform.conditions},
		{"an empty value is not a deletion", conform.empty},
		{"deleting what is not there changes nothing", conform.deleteAbsent},
		{"a prefix is deleted whole, and nothing beside it", conform.deletePrefix},
		{"a list is sorted, of one prefix and of one revision", conform.list},
		{"large lists are whole", conform.largeList},
		{"a snapshot is a list without what it skips", conform.snapshot},
		{"what no store takes is refused", conform.refuse},
		{"the largest transaction is taken", conform.largest},
		{"a watch tells everything after a revision, in order", conform.watch},
		{"the writes of one transaction come in one batch", conform.watchTogether},
		{"a watch goes on with what happens later", conform.watchLater},
		{"a watch ends with the error of its function", conform.watchStops},
		{"a watch of compacted history answers ErrCompacted", conform.compacted},
		{"of racing writers one wins each round", conform.race},
		{"a context that ended is an error", conform.ended},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c.run(conform{T: t, ctx: ctx, s: s, prefix: fmt.Sprintf("%sconform/%02d/", store.Root, i)})
		})
	}
}

// conform is one case: a store, and the prefix to work below.
type conform struct {
	*testing.T
	ctx    context.Context
	s      store.Store
	prefix string
}

func (c conform) absent() {
	if _, err := c.s.Get(c.ctx, c.prefix+"a"); !errors.Is(err, store.ErrNotFound) {
		c.Fatalf("want ErrNotFound, got %v", err)
	}
	c.wantList("")
}

func (c conform) write() {
	first := c.commit("+a=1")
	second := c.commit("+a=2")
	if second <= first {
		c.Fatalf("revision went from %d to %d", first, second)
	}
	e, err := c.s.Get(c.ctx, c.prefix+"a")
	if err != nil || string(e.Value) != "2" || e.Revision != second || e.Created != first {
		c.Fatalf("want a=2 of %d made at %d, got %+v, %v", second, first, e, err)
	}
	c.commit("-a")
	if _, err := c.s.Get(c.ctx, c.prefix+"a"); !errors.Is(err, store.ErrNotFound) {
		c.Fatalf("after its deletion: want ErrNotFound, got %v", err)
	}
	again := c.commit("+a=3")
	if e, err := c.s.Get(c.ctx, c.prefix+"a"); err != nil || e.Created != again {
		c.Fatalf("made again at %d, got %+v, %v", again, e, err)
	}
}

func (c conform) conditions() {
	absent := store.Cond{Key: c.prefix + "a"}
	r := c.commit("+a=1", absent)
	for _, conds := range [][]store.Cond{
		{absent},
		{{Key: c.prefix + "a", Revision: r + 1}},
		{{Key: c.prefix + "a", Revision: r}, {Key: c.prefix + "b", Revision: r}},
	} {
		if _, err := c.try("+a=2 +b=2", conds...); !errors.Is(err, store.ErrConflict) {
			c.Fatalf("%v: want ErrConflict, got %v", conds, err)
		}
	}
	c.wantList("a=1")
	c.commit("+a=2 +b=2", store.Cond{Key: c.prefix + "a", Revision: r}, store.Cond{Key: c.prefix + "b"})
	c.wantList("a=2 b=2")
}

func (c conform) empty() {
	r := c.commit("")
	c.commit("+a=")
	c.wantList("a=")
	c.wantWatch(r, "+a=")
}

func (c conform) deleteAbsent() {
	before := c.commit("+a=1")
	if after := c.commit("-b"); after != before {
		c.Fatalf("the revision went from %d to %d", before, after)
	}
	c.wantWatch(before-1, "+a=1")
}

func (c conform) deletePrefix() {
	r := c.commit("+a/1=x +a/2=y +a=z +b=w")
	c.commit("-a/*")
	c.wantList("a=z b=w")
	c.wantWatch(r, "-a/1 -a/2")
}

func (c conform) list() {
	c.commit("+b=2 +a=1 +a/x=3 +ab=4")
	r := c.commit("+c=5")
	list, revision, err := c.s.List(c.ctx, c.prefix+"a")
	if err != nil || revision < r {
		c.Fatalf("revision %d, %v", revision, err)
	}
	if got, want := c.text(list), "a=1 a/x=3 ab=4"; got != want {
		c.Fatalf("want %s\n got %s", want, got)
	}
}

func (c conform) largeList() {
	const n, step = 2400, 120
	value := bytes.Repeat([]byte("v"), 1000)
	for i := 0; i < n; i += step {
		var txn store.Txn
		for j := i; j < i+step; j++ {
			txn.Then = append(txn.Then, store.Write{Key: fmt.Sprintf("%s%05d", c.prefix, j), Value: value})
		}
		if _, err := c.s.Commit(c.ctx, txn); err != nil {
			c.Fatal(err)
		}
	}
	list, _, err := c.s.List(c.ctx, c.prefix)
	if err != nil || len(list) != n {
		c.Fatalf("want %d entries, got %d, %v", n, len(list), err)
	}
	for i, e := range list {
		if e.Key != fmt.Sprintf("%s%05d", c.prefix, i) || !bytes.Equal(e.Value, value) {
			c.Fatalf("entry %d is %s with %d bytes", i, e.Key, len(e.Value))
		}
	}
	if _, err := c.s.Commit(c.ctx, store.Txn{Then: []store.Write{{Key: c.prefix, Prefix: true}}}); err != nil {
		c.Fatal(err)
	}
	c.wantList("")
}

func (c conform) refuse() {
	many := store.Txn{}
	for i := range store.MaxOps + 1 {
		many.Then = append(many.Then, store.Write{Key: fmt.Sprint(c.prefix, i), Value: []byte("x")})
	}
	a := c.prefix + "a"
	for name, txn := range map[string]store.Txn{
		"too many writes":          many,
		"too large":                {Then: []store.Write{{Key: a, Value: make([]byte, 1600*1024)}}},
		"no key":                   {Then: []store.Write{{Value: []byte("x")}}},
		"a prefix with a value":    {Then: []store.Write{{Key: a, Value: []byte("x"), Prefix: true}}},
		"set twice":                {Then: []store.Write{{Key: a, Value: []byte("x")}, {Key: a, Value: []byte("y")}}},
		"set and deleted":          {Then: []store.Write{{Key: a, Value: []byte("x")}, {Key: a}}},
		"set below a deleted one":  {Then: []store.Write{{Key: a, Value: []byte("x")}, {Key: c.prefix, Prefix: true}}},
		"condition on no key":      {If: []store.Cond{{Revision: 1}}},
		"condition before all":     {If: []store.Cond{{Key: a, Revision: -1}}},
		"every key there could be": {Then: []store.Write{{Prefix: true}}},
	} {
		if _, err := c.s.Commit(c.ctx, txn); !errors.Is(err, store.ErrRefused) {
			c.Errorf("%s: want ErrRefused, got %v", name, err)
		}
	}
	c.wantList("")
}

func (c conform) largest() {
	var ops store.Txn
	for i := range store.MaxOps {
		key := fmt.Sprintf("%s%03d", c.prefix, i)
		ops.If = append(ops.If, store.Cond{Key: key})
		ops.Then = append(ops.Then, store.Write{Key: key, Value: []byte("x")})
	}
	if _, err := c.s.Commit(c.ctx, ops); err != nil {
		c.Errorf("%d conditions and writes: %v", store.MaxOps, err)
	}
	key := c.prefix + "big"
	big := store.Txn{Then: []store.Write{{Key: key, Value: make([]byte, store.MaxBytes-len(key)-32)}}}
	if _, err := c.s.Commit(c.ctx, big); err != nil {
		c.Errorf("%d bytes: %v", store.MaxBytes, err)
	}
}

// race: CAS increments by several writers lose none.
func (c conform) race() {
	const writers, rounds = 4, 10
	key := c.prefix + "n"
	c.commit("+n=")
	done := make(chan error, writers)
	for range writers {
		go func() {
			for range rounds {
				if err := c.increment(key); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			c.Error(err)
		}
	}
	c.wantList("n=" + strings.Repeat("x", writers*rounds))
}

func (c conform) increment(key string) error {
	for {
		e, err := c.s.Get(c.ctx, key)
		if err != nil {
			return err
		}
		_, err = c.s.Commit(c.ctx, store.Txn{
			If:   []store.Cond{{Key: key, Revision: e.Revision}},
			Then: []store.Write{{Key: key, Value: append(bytes.Clone(e.Value), 'x')}},
		})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func (c conform) ended() {
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	if _, err := c.s.Get(ctx, c.prefix+"a"); !errors.Is(err, context.Canceled) {
		c.Errorf("Get: want context.Canceled, got %v", err)
	}
	if _, _, err := c.s.List(ctx, c.prefix); !errors.Is(err, context.Canceled) {
		c.Errorf("List: want context.Canceled, got %v", err)
	}
	txn := store.Txn{Then: []store.Write{{Key: c.prefix + "a", Value: []byte("x")}}}
	if _, err := c.s.Commit(ctx, txn); !errors.Is(err, context.Canceled) {
		c.Errorf("Commit: want context.Canceled, got %v", err)
	}
	if err := c.s.Watch(ctx, c.prefix, 1, func(store.Batch) error { return nil }); !errors.Is(err, context.Canceled) {
		c.Errorf("Watch: want context.Canceled, got %v", err)
	}
	c.wantList("")
}
