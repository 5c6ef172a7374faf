package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// storeSchema reads the schema of the store, 0 for an empty one. It refuses one
// that a later release has written to, before anything is written.
func storeSchema(ctx context.Context, s store.Store) (found int, revision int64, err error) {
	e, err := s.Get(ctx, keySchema)
	if errors.Is(err, store.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("server: read the store's schema: %w", err)
	}
	n, err := strconv.Atoi(string(e.Value))
	if err != nil {
		return 0, 0, fmt.Errorf("server: %s is %q and no number; is this store another program's?", keySchema, e.Value)
	}
	if err := schema.Store.Check("the store ("+keySchema+")", n); err != nil {
		return 0, 0, fmt.Errorf("server: %w", err)
	}
	return n, e.Revision, nil
}

// raiseSchema says in the store that this release writes to it from now on. It
// does nothing if the store says so already.
func raiseSchema(ctx context.Context, s store.Store) error {
	n, revision, err := storeSchema(ctx, s)
	if err != nil || n == schema.Store.Version() {
		return err
	}
	_, err = s.Commit(ctx, store.Txn{
		If:   []store.Cond{{Key: keySchema, Revision: revision}},
		Then: []store.Write{{Key: keySchema, Value: []byte(strconv.Itoa(schema.Store.Version()))}},
	})
	if errors.Is(err, store.ErrConflict) {
		return raiseSchema(ctx, s) // another server did, or one of another release
	}
	if err != nil {
		return fmt.Errorf("server: raise the store's schema: %w", err)
	}
	return nil
}
