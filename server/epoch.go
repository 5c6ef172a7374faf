package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/schema"
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
func found(ctx context.Context, s store.Store, c Config) (fabric, error) {
	if _, _, err := storeSchema(ctx, s); err != nil {
		return fabric{}, err
	}
	if err := disk.MarkFolder(c.DataDir, schema.ServerFolder); err != nil {
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
			{Key: keyName, Value: []byte(c.Fabric)},
			{Key: keySchema, Value: []byte(strconv.Itoa(schema.Store.Version()))},
		},
	})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fabric{}, fmt.Errorf("server: found the fabric: %w", err)
	}
	if err := raiseSchema(ctx, s); err != nil {
		return fabric{}, err
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
