package etcd

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/weft-net/weft/server/store"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Snapshot calls fn with all entries below a prefix but those below skip, sorted
// by key, page by page, all as of one revision: it never holds more than a page.
// store.ErrCompacted means that history did not last as long as fn took.
func (s *Store) Snapshot(ctx context.Context, prefix string, skip []string, fn func(entries []store.Entry, revision int64) error) error {
	var revision int64
	for _, r := range spans(prefix, skip) {
		for from := r.from; from < r.end; {
			page, err := s.page(ctx, from, r.end, revision)
			if err != nil {
				return s.explain(ctx, "read all of "+prefix, err)
			}
			if revision == 0 {
				revision = page.Header.Revision
			}
			entries := make([]store.Entry, 0, len(page.Kvs))
			for _, kv := range page.Kvs {
				entries = append(entries, entry(kv))
			}
			if err := fn(entries, revision); err != nil {
				return err
			}
			if !page.More {
				break
			}
			from = entries[len(entries)-1].Key + "\x00"
		}
	}
	if revision == 0 {
		return errors.New("etcd: all of " + prefix + " is left out")
	}
	return nil
}

// span is keys from one on to before another.
type span struct{ from, end string }

// spans are what is below a prefix without what is below others.
func spans(prefix string, skip []string) []span {
	end := clientv3.GetPrefixRangeEnd(prefix)
	var out []span
	from := prefix
	for _, s := range slices.Sorted(slices.Values(skip)) {
		if !strings.HasPrefix(s, prefix) || s < from {
			continue
		}
		if from < s {
			out = append(out, span{from, s})
		}
		from = clientv3.GetPrefixRangeEnd(s)
	}
	if from < end {
		out = append(out, span{from, end})
	}
	return out
}
