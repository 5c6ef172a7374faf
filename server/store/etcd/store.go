package etcd

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-net/weft/server/store"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// pageSize is how many entries one request of a list asks for.
const pageSize = 500

// Store is a store.Store in etcd.
type Store struct {
	config Config
	client *clientv3.Client
	server *server // nil for one elsewhere
}

var _ store.Store = (*Store)(nil)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if err := ctx.Err(); err != nil { // the in-process client does not look
		return store.Entry{}, s.explain(ctx, "get "+key, err)
	}
	r, err := s.get(ctx, key)
	if err != nil {
		return store.Entry{}, s.explain(ctx, "get "+key, err)
	}
	if len(r.Kvs) == 0 {
		return store.Entry{}, fmt.Errorf("etcd: %s: %w", key, store.ErrNotFound)
	}
	return entry(r.Kvs[0]), nil
}

// List implements store.Store. Each page has the deadline of one request. It
// begins anew if the revision of its first page is compacted before its last.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	const tries = 3
	for try := 1; ; try++ {
		entries, revision, err := s.list(ctx, prefix)
		if errors.Is(err, store.ErrCompacted) && try < tries {
			continue
		}
		return entries, revision, err
	}
}

func (s *Store) list(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	var entries []store.Entry
	var revision int64
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	if prefix == "" {
		from = "\x00" // etcd's way to say all keys, as end already is
	}
	for {
		r, err := s.page(ctx, from, end, revision)
		if err != nil {
			return nil, 0, s.explain(ctx, "list "+prefix, err)
		}
		if revision == 0 {
			revision = r.Header.Revision
			entries = make([]store.Entry, 0, r.Count)
		}
		for _, kv := range r.Kvs {
			entries = append(entries, entry(kv))
		}
		if !r.More {
			return entries, revision, nil
		}
		from = entries[len(entries)-1].Key + "\x00"
	}
}

func (s *Store) page(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if err := ctx.Err(); err != nil { // the in-process client does not look
		return nil, err
	}
	return s.get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision),
		clientv3.WithLimit(pageSize), clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
}

func (s *Store) get(ctx context.Context, key string, how ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return await(ctx, func() (*clientv3.GetResponse, error) { return s.client.Get(ctx, key, how...) })
}

// await waits for an answer as long as the request may take. The client of an etcd in
// this process does not look: what asks one that gave up while it held a lock waits
// for ever, and would keep the server from ending. It is left behind.
func await[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	type answer struct {
		is  T
		err error
	}
	said := make(chan answer, 1)
	go func() {
		is, err := ask()
		said <- answer{is, err}
	}()
	select {
	case a := <-said:
		return a.is, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// Commit implements store.Store. Any error but ErrConflict and ErrRefused leaves
// open whether the transaction was written.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if err := txn.Check(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if err := ctx.Err(); err != nil { // the in-process client does not look
		return 0, s.explain(ctx, "commit", err)
	}
	r, err := await(ctx, s.client.Txn(ctx).If(compares(txn.If)...).Then(ops(txn.Then)...).Commit)
	if err != nil {
		return 0, s.explain(ctx, "commit", err)
	}
	if !r.Succeeded {
		return 0, fmt.Errorf("etcd: %s: %w", conditions(txn.If), store.ErrConflict)
	}
	return r.Header.Revision, nil
}

// Compact forgets history before a revision. An embedded etcd does it by itself,
// every hour.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if _, err := s.client.Compact(ctx, revision); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return s.explain(ctx, fmt.Sprintf("compact at %d", revision), err)
	}
	return nil
}

func compares(conds []store.Cond) []clientv3.Cmp {
	list := make([]clientv3.Cmp, len(conds))
	for i, c := range conds {
		list[i] = clientv3.Compare(clientv3.ModRevision(c.Key), "=", c.Revision)
	}
	return list
}

func ops(writes []store.Write) []clientv3.Op {
	list := make([]clientv3.Op, len(writes))
	for i, w := range writes {
		switch {
		case w.Value != nil:
			list[i] = clientv3.OpPut(w.Key, string(w.Value))
		case w.Prefix:
			list[i] = clientv3.OpDelete(w.Key, clientv3.WithPrefix())
		default:
			list[i] = clientv3.OpDelete(w.Key)
		}
	}
	return list
}

// conditions names the keys of a transaction that lost its race.
func conditions(conds []store.Cond) string {
	if len(conds) == 1 {
		return conds[0].Key
	}
	return fmt.Sprintf("one of %d keys from %s on", len(conds), conds[0].Key)
}

// entry copies the key; the value stays shared, and is only read.
func entry(kv *mvccpb.KeyValue) store.Entry {
	e := store.Entry{Key: string(kv.Key), Value: kv.Value, Revision: kv.ModRevision, Created: kv.CreateRevision}
	if e.Value == nil {
		e.Value = []byte{} // over the wire the empty value is nil, which here means deleted
	}
	return e
}
