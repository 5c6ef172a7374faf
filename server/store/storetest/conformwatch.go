package storetest

import (
	"context"
	"errors"
	"strings"

	"github.com/weft-net/weft/server/store"
)

// errEnough ends a watch that has seen what it wanted.
var errEnough = errors.New("enough")

func (c conform) watch() {
	r := c.commit("+a=1")
	c.commit("+b=2")
	c.commit("+a=3")
	c.commit("-b")
	c.wantWatch(r, "+b=2 +a=3 -b")
	c.wantWatch(r-1, "+a=1 +b=2 +a=3 -b")
}

func (c conform) watchTogether() {
	r := c.commit("")
	last := c.commit("+a=1 +b=2 +c=3")
	err := c.s.Watch(c.ctx, c.prefix, r, func(b store.Batch) error {
		if len(b.Events) == 0 {
			return nil
		}
		if got := c.events(b.Events); got != "+a=1 +b=2 +c=3" || b.Revision != last {
			c.Errorf("one batch has %s at %d, not %d", got, b.Revision, last)
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		c.Fatal(err)
	}
}

// watchLater: each write is made when the one before was seen.
func (c conform) watchLater() {
	r := c.commit("+a=0")
	todo := []string{"+a=1", "+b=2", "-a", "+a=3"}
	var seen []string
	started := make(chan struct{}, 1)
	started <- struct{}{}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- c.s.Watch(ctx, c.prefix, r, func(b store.Batch) error {
			if len(b.Events) == 0 {
				return nil
			}
			seen = append(seen, c.events(b.Events))
			if len(seen) == len(todo) {
				return errEnough
			}
			started <- struct{}{}
			return nil
		})
	}()
	for _, w := range todo {
		select {
		case <-started:
		case err := <-done:
			c.Fatalf("watch ended: %v", err)
		}
		c.commit(w)
	}
	if err := <-done; !errors.Is(err, errEnough) {
		c.Fatal(err)
	}
	if got, want := strings.Join(seen, " "), strings.Join(todo, " "); got != want {
		c.Fatalf("want %s\n got %s", want, got)
	}
}

func (c conform) watchStops() {
	r := c.commit("+a=1")
	if err := c.s.Watch(c.ctx, c.prefix, r-1, func(store.Batch) error { return errEnough }); !errors.Is(err, errEnough) {
		c.Fatalf("want the function's error, got %v", err)
	}
}

func (c conform) compacted() {
	compacter, ok := c.s.(interface {
		Compact(ctx context.Context, revision int64) error
	})
	if !ok {
		c.Fatal("the store has no Compact")
	}
	r := c.commit("+a=1")
	c.commit("+a=2")
	last := c.commit("+a=3")
	if err := compacter.Compact(c.ctx, last); err != nil {
		c.Fatal(err)
	}
	err := c.s.Watch(c.ctx, c.prefix, r-1, func(store.Batch) error { return nil })
	if !errors.Is(err, store.ErrCompacted) {
		c.Fatalf("want ErrCompacted, got %v", err)
	}
	c.wantList("a=3")
	c.commit("+a=4")
	c.wantWatch(last, "+a=4")
}

// wantWatch watches from a revision on until as many events came as are wanted.
func (c conform) wantWatch(after int64, want string) {
	c.Helper()
	var got []string
	err := c.s.Watch(c.ctx, c.prefix, after, func(b store.Batch) error {
		if len(b.Events) > 0 {
			got = append(got, c.events(b.Events))
		}
		if len(strings.Fields(strings.Join(got, " "))) >= len(strings.Fields(want)) {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		c.Fatalf("watch: %v; until then %s", err, got)
	}
	if got := strings.Join(got, " "); got != want {
		c.Fatalf("watch after %d\nwant %s\n got %s", after, want, got)
	}
}

// events prints events as commit takes them.
func (c conform) events(events []store.Event) string {
	var words []string
	for _, e := range events {
		if e.Value == nil {
			words = append(words, "-"+strings.TrimPrefix(e.Key, c.prefix))
			continue
		}
		words = append(words, "+"+strings.TrimPrefix(e.Key, c.prefix)+"="+string(e.Value))
	}
	return strings.Join(words, " ")
}

func (c conform) text(entries []store.Entry) string {
	var words []string
	for _, e := range entries {
		words = append(words, strings.TrimPrefix(e.Key, c.prefix)+"="+string(e.Value))
	}
	return strings.Join(words, " ")
}

func (c conform) wantList(want string) {
	c.Helper()
	list, _, err := c.s.List(c.ctx, c.prefix)
	if err != nil {
		c.Fatal(err)
	}
	if got := c.text(list); got != want {
		c.Fatalf("want %q\n got %q", want, got)
	}
}

// try commits words: +key=value sets, -key deletes, -key* deletes a prefix.
func (c conform) try(words string, conds ...store.Cond) (int64, error) {
	txn := store.Txn{If: conds}
	for _, word := range strings.Fields(words) {
		key, value, _ := strings.Cut(word[1:], "=")
		w := store.Write{Key: c.prefix + strings.TrimSuffix(key, "*"), Prefix: strings.HasSuffix(key, "*")}
		if word[0] == '+' {
			w.Value = []byte(value)
		}
		txn.Then = append(txn.Then, w)
	}
	return c.s.Commit(c.ctx, txn)
}

func (c conform) commit(words string, conds ...store.Cond) int64 {
	c.Helper()
	revision, err := c.try(words, conds...)
	if err != nil {
		c.Fatalf("%s: %v", words, err)
	}
	return revision
}
