package push

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

const (
	// maxLaggards bounds how many nodes are named that are behind the others; of
	// more it is said how far all are.
	maxLaggards = 1000
	// maxRuns is of how many of a server's runs the last word is kept.
	maxRuns = 3
)

// beacon is what this server says of all its streams, in one value: a heartbeat, or
// an acknowledgement of what all nodes are told, costs the store no write a node.
func (h *Hub) beacon() kind.ServerObservation {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.last != nil {
		return *h.last
	}
	o := kind.ServerObservation{Run: h.cfg.Run, HeardUnix: time.Now().Unix(), Epoch: h.cfg.Epoch, Revision: h.revision}
	applied := make(map[string]int64, len(h.streams))
	for name, s := range h.streams {
		applied[name] = s.node.revision()
		o.AppliedRevision = max(o.AppliedRevision, applied[name])
	}
	least, behind := o.AppliedRevision, map[string]int64{}
	for name, rev := range applied {
		if least = min(least, rev); rev < o.AppliedRevision && len(behind) <= maxLaggards {
			behind[name] = rev
		}
	}
	switch {
	case len(behind) > maxLaggards:
		o.AppliedRevision = least
	case len(behind) > 0:
		o.Behind = behind
	}
	return o
}

// shine writes the beacon.
func (h *Hub) shine(ctx context.Context) error {
	value, err := json.Marshal(h.beacon())
	if err != nil {
		return err
	}
	b := batch{}
	if err := b.add(ctx, h.cfg.Store, store.Write{Key: kind.ObservedServer(h.cfg.Server, h.cfg.Run), Value: value}); err != nil {
		return err
	}
	return b.commit(ctx, h.cfg.Store)
}

// bury marks earlier runs of this server as gone, and forgets all but the last: a
// run that was killed could not say so itself.
func (h *Hub) bury(ctx context.Context) {
	prefix := kind.ObservedServer(h.cfg.Server, "")
	ctx, cancel := context.WithTimeout(ctx, letInWork)
	defer cancel()
	entries, _, err := h.cfg.Store.List(ctx, prefix)
	var b batch
	if err == nil {
		for _, w := range burials(entries, prefix+h.cfg.Run) {
			if err = b.add(ctx, h.cfg.Store, w); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = b.commit(ctx, h.cfg.Store)
	}
	if err != nil { // their last word ages, and counts as gone then
		h.cfg.Log.Warn("earlier runs not marked as gone", note.Err, err)
	}
}

func burials(entries []store.Entry, own string) (out []store.Write) {
	type run struct {
		key string
		obs kind.ServerObservation
	}
	var runs []run
	for _, e := range entries {
		if e.Key == own {
			continue
		}
		o, err := kind.DecodeObservation[kind.ServerObservation](e)
		if err != nil {
			o = kind.ServerObservation{Gone: true}
		}
		runs = append(runs, run{e.Key, o})
	}
	slices.SortFunc(runs, func(a, b run) int {
		if a.obs.HeardUnix != b.obs.HeardUnix {
			return int(b.obs.HeardUnix - a.obs.HeardUnix)
		}
		return strings.Compare(a.key, b.key)
	})
	for i, r := range runs {
		if i >= maxRuns {
			out = append(out, store.Write{Key: r.key})
			continue
		}
		if r.obs.Gone {
			continue
		}
		r.obs.Gone = true
		if value, err := json.Marshal(r.obs); err == nil {
			out = append(out, store.Write{Key: r.key, Value: value})
		}
	}
	return out
}
