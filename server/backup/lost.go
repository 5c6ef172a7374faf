package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/weft-net/weft/server/store"
)

// Lost is what store.Lost holds of the last time that a store was made again.
type Lost struct {
	Schema      int      `json:"schema"`
	Ordinal     uint64   `json:"ordinal"`     // of the epoch that began
	FileOrdinal uint64   `json:"fileOrdinal"` // of the backup's epoch; 0: there was none
	Revision    int64    `json:"revision"`    // of the backup
	Losses      []uint64 `json:"losses"`      // ordinals of all epochs that began so
}

// lost says what a store that was lost is made again of.
func (r *Room) lost(ctx context.Context, m Marker, c contents) (store.Write, error) {
	live, err := r.Store.Get(ctx, store.Lost)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Write{}, fmt.Errorf("backup: %w", err)
	}
	losses := []uint64{m.Ordinal}
	for _, value := range [][]byte{c.values[store.Lost], live.Value} {
		var before Lost
		if len(value) == 0 {
			continue
		}
		if err := json.Unmarshal(value, &before); err != nil {
			return store.Write{}, fmt.Errorf("backup: %s: %w", store.Lost, err)
		}
		losses = append(losses, before.Losses...)
	}
	slices.Sort(losses)
	losses = slices.Compact(losses)
	value, err := json.Marshal(Lost{
		Schema: markerSchema, Ordinal: m.Ordinal, FileOrdinal: c.Ordinal, Revision: c.Revision,
		Losses: losses[max(0, len(losses)-maxEpochs):],
	})
	if err != nil {
		return store.Write{}, fmt.Errorf("backup: %w", err)
	}
	return store.Write{Key: store.Lost, Value: value}, nil
}
