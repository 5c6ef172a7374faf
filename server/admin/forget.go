package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/store"
)

// Former values of an object that is there are at most keptVersions. Those of one
// that was deleted are kept as long as the audit tells of it: a cluster whose nodes
// come and go under new names would gather them for ever.
const (
	keepDeleted = journal.KeepActs
	forgetEvery = 6 * time.Hour
)

// Forget takes away the former values of objects that were deleted long ago, now
// and then until ctx ends. One server does.
func (s *Server) Forget(ctx context.Context) error {
	every := time.NewTicker(forgetEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		if err := s.forget(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("former versions not pruned", note.Err, err, note.Retry, forgetEvery)
		}
	}
}

// forget does so once. An object that is made anew meanwhile keeps its past.
func (s *Server) forget(ctx context.Context) error {
	entries, _, err := s.Store.List(ctx, versions)
	if err != nil {
		return fmt.Errorf("admin: former versions: %w", err)
	}
	before := s.Now().Add(-keepDeleted).Unix()
	for len(entries) > 0 { // one object's lie side by side
		object := objectOf(entries[0].Key)
		n, newest := 0, int64(0)
		for ; n < len(entries) && objectOf(entries[n].Key) == object; n++ {
			newest = max(newest, replacedUnix(entries[n].Value))
		}
		if newest < before {
			if err := s.forgetOne(ctx, object, entries[:n]); err != nil {
				return err
			}
		}
		entries = entries[n:]
	}
	return nil
}

func (s *Server) forgetOne(ctx context.Context, object string, former []store.Entry) error {
	txn := store.Txn{If: []store.Cond{{Key: store.Intent + object}}} // it is not there
	for _, e := range former {
		txn.Then = append(txn.Then, store.Write{Key: e.Key})
	}
	if _, err := s.Store.Commit(ctx, txn); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("admin: forget former versions of %s: %w", object, err)
	}
	return nil
}

// objectOf is KIND/NAMESPACE/NAME of a former value's key.
func objectOf(key string) string {
	rest := strings.TrimPrefix(key, versions)
	return rest[:max(strings.LastIndex(rest, "/"), 0)]
}

// replacedUnix is when a value was replaced; one that cannot be read is old.
func replacedUnix(value []byte) int64 {
	var f former
	if json.Unmarshal(value, &f) != nil {
		return 0
	}
	return f.ReplacedUnix
}
