package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Keys of what is true of the whole store.
const (
	keyEpoch  = store.Fabric + "epoch"
	keyName   = store.Fabric + "name"
	keySchema = store.Fabric + "schema"
)

// fabric is what the store is.
type fabric struct {
	epoch string // random, 128 bits; another after each restore
	name  string
}

// found reads the fabric, and founds it in an empty store. It refuses a store of
// a later release before anything is written.
func found(ctx context.Context, s store.Store, name string) (fabric, error) {
	if err := checkSchema(ctx, s); err != nil {
		return fabric{}, err
	}
	epoch := make([]byte, 16)
	if _, err := rand.Read(epoch); err != nil {
		return fabric{}, fmt.Errorf("server: %w", err)
	}
	_, err := s.Commit(ctx, store.Txn{
		If: []store.Cond{{Key: keyEpoch}},
		Then: []store.Write{
			{Key: keyEpoch, Value: []byte(hex.EncodeToString(epoch))},
			{Key: keyName, Value: []byte(name)},
			{Key: keySchema, Value: []byte(strconv.Itoa(kind.Schema))},
		},
	})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fabric{}, fmt.Errorf("server: found the fabric: %w", err)
	}
	var f fabric
	for key, field := range map[string]*string{keyEpoch: &f.epoch, keyName: &f.name} {
		e, err := s.Get(ctx, key)
		if err != nil {
			return fabric{}, fmt.Errorf("server: read the fabric: %w", err)
		}
		*field = string(e.Value)
	}
	return f, nil
}

func checkSchema(ctx context.Context, s store.Store) error {
	e, err := s.Get(ctx, keySchema)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("server: read the store's schema: %w", err)
	}
	n, err := strconv.Atoi(string(e.Value))
	if err != nil {
		return fmt.Errorf("server: %s is %q and no number; is this store another program's?", keySchema, e.Value)
	}
	if n > kind.Schema {
		return fmt.Errorf("server: the store has schema %d, this release reads up to %d; run the newer weft-server again, nothing was changed", n, kind.Schema)
	}
	return nil
}
