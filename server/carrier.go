package server

import (
	"context"

	"github.com/weft-net/weft/server/carrier"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// carry takes the fabric to the carrier that its configuration says, while this
// server leads.
func (r *rooms) carry(ctx context.Context, s store.Store) error {
	return carrier.New(carrier.Config{
		Epoch: r.fabric.epoch, Mirror: r.mirror, Store: s, Log: r.Log,
		Note: func(reason, message string, bad bool) {
			e := journal.Event{Object: kind.ClusterConfig + "/" + kind.DefaultName, Reason: reason, Message: message}
			if bad {
				e.Kind = journal.Warning
			}
			r.journal.Note(e)
		},
	}).Run(ctx)
}
