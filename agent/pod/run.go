package pod

import (
	"context"
	"time"

	"github.com/weft-net/weft/proto/note"
)

// settle is how long Run waits after a kick: links come and go in bursts, and a
// look costs a list of all of them.
const settle = 20 * time.Millisecond

// Kick tells that devices have changed. It never blocks and carries nothing.
func (k *Keeper) Kick() {
	select {
	case k.kicks <- struct{}{}:
	default:
	}
}

// Run looks after the attachments until ctx ends: it heals them after every Kick,
// and looks for dead namespaces at the start, every minute, and when the grace of
// one that was seen dead ends.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		k.look(ctx)
		timer := time.NewTimer(k.nextLook())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-k.kicks:
			timer.Reset(settle)
			<-timer.C
		}
	}
}

func (k *Keeper) look(ctx context.Context) {
	k.Sweep(ctx)
	if err := k.Heal(ctx); err != nil && ctx.Err() == nil {
		k.Log.Warn("attachments not healed", note.Err, err, note.Retry, sweepEvery)
	}
}

// nextLook is when Sweep has something to do again.
func (k *Keeper) nextLook() time.Duration {
	now, next := k.Now(), sweepEvery
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.entries {
		if !e.gone.IsZero() {
			next = min(next, max(e.gone.Add(k.Grace).Sub(now), time.Second))
		}
	}
	return next
}
