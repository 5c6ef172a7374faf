package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Op is what a restore does to a key.
type Op string

// Ops.
const (
	Add    Op = "add"
	Modify Op = "change"
	Remove Op = "remove"
)

// Change is one key that a restore would touch.
type Change struct {
	Op    Op
	Key   string
	value []byte // that it gets; nil if it is removed
}

// Object names what is changed, in operators' words: Lease/n5, identity node/n5.
func (c Change) Object() string {
	if k, namespace, name, ok := kind.ParseKey(c.Key); ok {
		if namespace != "" {
			name = namespace + "/" + name
		}
		return k + "/" + name
	}
	if rest, ok := strings.CutPrefix(c.Key, store.Identity); ok {
		return "identity " + rest
	}
	return strings.TrimPrefix(c.Key, store.Root)
}

// contents is a backup in memory.
type contents struct {
	Header
	sum    string
	values map[string][]byte
}

// read reads a backup whole and checks all of it.
func read(in io.Reader) (contents, error) {
	c := contents{values: map[string][]byte{}}
	sum, _, err := decode(in, func(h Header) error { c.Header = h; return nil }, func(e store.Entry) error {
		if isSkipped(e.Key) {
			return nil
		}
		c.values[e.Key] = e.Value
		return check(e)
	})
	c.sum = sum
	if err != nil {
		return contents{}, err
	}
	switch f, err := fabricOf(c.values); {
	case err != nil:
		return contents{}, err
	case f.Epoch != c.Epoch || f.CA != c.CA:
		return contents{}, fmt.Errorf("the header says epoch %.12s and CA %.12s, its keys %.12s and %.12s: the file was made up", c.Epoch, c.CA, f.Epoch, f.CA)
	}
	return c, nil
}

// ErrOther is what a backup of another fabric is refused with.
var ErrOther = errors.New("it is a backup of another fabric")

// admit refuses a backup that is not of the fabric.
func admit(now Fabric, h Header) error {
	if now.Epoch == "" || now.SameAs(h) {
		return nil
	}
	return fmt.Errorf("%w: it holds %q (id %.12s, CA %.12s), and this is %q (id %.12s, CA %.12s)", ErrOther,
		h.Fabric, dash(h.ID), dash(h.CA), now.Name, dash(now.ID), dash(now.CA))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// stays tells whether any restore leaves a key as it is: those that it sets itself,
// and the CA, which agents know by now.
func stays(key string) bool {
	switch key {
	case keyEpoch, keyOrdinal, keyID, store.Restored, store.Lost, store.Settling, store.Direction, store.Epochs:
		return true
	}
	return Authority(key) || isSkipped(key)
}

// differences lists what a restore into a store changes, by key.
func differences(ctx context.Context, s Store, c contents) ([]Change, error) {
	l, err := readLedger(ctx, s)
	if err != nil {
		return nil, err
	}
	values, err := l.add(c)
	if err != nil {
		return nil, err
	}
	out, err := compare(ctx, s, values, func(key string) bool { return stays(key) || l.keeps(key, c) })
	if err != nil {
		return nil, err
	}
	word, err := c.word()
	if err != nil {
		return nil, err
	}
	for _, change := range out {
		if k, _, node, ok := kind.ParseKey(change.Key); ok && k == kind.Lease && change.value != nil {
			out = append(out, Change{Op: Add, Key: store.Words + node, value: word})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// compare lists what brings a store to values, by key, but for those that stay as
// they are.
func compare(ctx context.Context, s Store, values map[string][]byte, stays func(key string) bool) ([]Change, error) {
	var out []Change
	seen := map[string]bool{}
	err := s.Snapshot(ctx, store.Root, skipped, func(entries []store.Entry, _ int64) error {
		for _, e := range entries {
			if stays(e.Key) {
				continue
			}
			seen[e.Key] = true
			switch value, ok := values[e.Key]; {
			case !ok:
				out = append(out, Change{Op: Remove, Key: e.Key})
			case !bytes.Equal(value, e.Value):
				out = append(out, Change{Op: Modify, Key: e.Key, value: value})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for key, value := range values {
		if !seen[key] && !stays(key) {
			out = append(out, Change{Op: Add, Key: key, value: value})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// transactions packs changes, each under a condition.
func transactions(changes []Change, cond store.Cond) []store.Txn {
	const most, largest = 100, 1 << 20
	var out []store.Txn
	size := largest
	for _, c := range changes {
		n := len(c.Key) + len(c.value)
		if size+n > largest || len(out[len(out)-1].Then) == most {
			out, size = append(out, store.Txn{If: []store.Cond{cond}}), 0
		}
		last := &out[len(out)-1]
		last.Then = append(last.Then, store.Write{Key: c.Key, Value: c.value})
		size += n
	}
	return out
}
