package egress

import (
	"context"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// followAgain is the pause before observations are followed once more.
const followAgain = time.Second

// followEndpoints follows observations of endpoints while the mode is cluster, until
// ctx ends. In other modes they are not needed, and there may be very many.
func (g *Gate) followEndpoints(ctx context.Context, changed <-chan struct{}) {
	for ctx.Err() == nil {
		if mode, _ := g.atlas.mode(); mode == kind.EgressCluster {
			g.followWhile(ctx, changed)
			g.atlas.noEndpoints()
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// followWhile returns when the mode is another.
func (g *Gate) followWhile(ctx context.Context, changed <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	defer func() { <-ended }()
	defer cancel()
	go func() {
		defer close(ended)
		g.mirrorEndpoints(ctx)
	}()
	for {
		select {
		case <-changed:
			if mode, _ := g.atlas.mode(); mode != kind.EgressCluster {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gate) mirrorEndpoints(ctx context.Context) {
	seen := store.NewCache(g.Store, kind.ObservedEndpoints)
	_, _, cancel := seen.Subscribe(func(b store.Batch) { g.atlas.endpoints(b.Events) })
	defer cancel()
	for {
		err := seen.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		g.Log.Warn("endpoints not followed", note.Err, err, note.Retry, followAgain)
		t := time.NewTimer(followAgain)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}
