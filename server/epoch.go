package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/store"
)

// Keys of what is true of the whole store.
const (
	keyEpoch   = store.Fabric + "epoch"
	keyOrdinal = store.Fabric + "epoch-ordinal" // from 1 on; a release that had none wrote none
	keyID      = store.Fabric + "id"            // random; stays through all epochs
	keyName    = store.Fabric + "name"
	keySchema  = store.Fabric + "schema"
)

// fabric is what the store is.
type fabric struct {
	epoch   string // random, 128 bits; another after each restore
	ordinal uint64 // of the epoch, from 1 on
	name    string
	fence   int64 // revision of store.Fence: all that is decided holds as long as it stands
}

// found reads the fabric, and founds it in an empty store. It refuses a store of
// a later release before anything is written. It answers store.ErrFenced while a
// backup is being restored.
func found(ctx context.Context, s store.Store, c Config) (fabric, error) {
	if _, _, err := storeSchema(ctx, s); err != nil {
		return fabric{}, err
	}
	if err := disk.MarkFolder(c.DataDir, schema.ServerFolder); err != nil {
		return fabric{}, err
	}
	err := missing(ctx, s, keyEpoch, append(backup.Epoch(backup.NewEpoch(), 1),
		store.Write{Key: keyName, Value: []byte(c.Fabric)}, store.Write{Key: keyID, Value: []byte(backup.NewEpoch())},
		store.Write{Key: keySchema, Value: []byte(strconv.Itoa(schema.Store.Version()))})...)
	if err != nil {
		return fabric{}, fmt.Errorf("server: found the fabric: %w", err)
	}
	f, err := readFabric(ctx, s)
	if err == nil {
		err = raiseSchema(ctx, s)
	}
	if err == nil && f.fence == 0 { // the store is of a release that had no fence
		err = missing(ctx, s, store.Fence, store.Write{Key: store.Fence, Value: []byte(f.epoch)})
		if err == nil {
			err = missing(ctx, s, keyID, store.Write{Key: keyID, Value: []byte(backup.NewEpoch())})
		}
		if err == nil {
			f, err = readFabric(ctx, s)
		}
	}
	return f, err
}

func readFabric(ctx context.Context, s store.Store) (fabric, error) {
	fence, err := s.Get(ctx, store.Fence) // first: what is read after it is at least as new
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fabric{}, fmt.Errorf("server: read the fabric: %w", err)
	}
	now, err := backup.ReadFabric(ctx, s)
	if err != nil {
		return fabric{}, fmt.Errorf("server: %w", err)
	}
	if fence.Revision > 0 && string(fence.Value) != now.Epoch {
		return fabric{}, fmt.Errorf("server: %w", store.ErrFenced)
	}
	return fabric{epoch: now.Epoch, ordinal: now.Ordinal, name: now.Name, fence: fence.Revision}, nil
}

// missing writes something if a key is not there yet.
func missing(ctx context.Context, s store.Store, key string, writes ...store.Write) error {
	_, err := s.Commit(ctx, store.Txn{If: []store.Cond{{Key: key}, {Key: store.Restore}}, Then: writes})
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
