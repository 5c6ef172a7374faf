package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-net/weft/server/store"
)

// maxEpochs bounds the epochs that are remembered: an agent from an older one
// counts as one that nobody knows.
const maxEpochs = 256

// epochs remembers those that are over, by the store and by the backup, and the
// one that begins.
func (r *Room) epochs(ctx context.Context, m Marker, c contents) (store.Write, error) {
	known := map[string]uint64{}
	live, err := r.Store.Get(ctx, store.Epochs)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Write{}, fmt.Errorf("backup: %w", err)
	}
	for _, value := range [][]byte{c.values[store.Epochs], live.Value} {
		if len(value) == 0 {
			continue
		}
		if err := json.Unmarshal(value, &known); err != nil {
			return store.Write{}, fmt.Errorf("backup: %s: %w; delete the key", store.Epochs, err)
		}
	}
	now, err := ReadFabric(ctx, r.Store)
	if err != nil {
		return store.Write{}, err
	}
	known[c.Epoch], known[now.Epoch], known[m.Epoch] = c.Ordinal, now.Ordinal, m.Ordinal
	delete(known, "")
	oldest := slices.SortedFunc(maps.Keys(known), func(a, b string) int { return cmp.Compare(known[a], known[b]) })
	for _, id := range oldest[:max(0, len(oldest)-maxEpochs)] {
		delete(known, id)
	}
	value, err := json.Marshal(known)
	if err != nil {
		return store.Write{}, fmt.Errorf("backup: %w", err)
	}
	return store.Write{Key: store.Epochs, Value: value}, nil
}
