package server

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestCalm: memory is given back once after a crowd, when nobody comes any more,
// and not for a few.
func TestCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var came atomic.Uint64
		gave := 0
		ctx, cancel := context.WithCancel(t.Context())
		go calm(ctx, came.Load, func() { gave++ })
		time.Sleep(time.Millisecond) // between its looks
		for _, step := range []struct {
			name string
			come uint64
			want int
		}{
			{"nobody", 0, 0},
			{"a few", crowdOf - 1, 0},
			{"nobody more", 0, 0},
			{"one more makes a crowd", 1, 0},
			{"calm", 0, 1},
			{"still", 0, 1},
			{"a few again", 10, 1},
			{"calm again", 0, 1},
			{"a crowd", 5000, 1},
			{"that goes on", 1, 1},
			{"and ends", 0, 2},
		} {
			came.Add(step.come)
			time.Sleep(calmAfter)
			synctest.Wait()
			if gave != step.want {
				t.Errorf("%s: given back %d times, want %d", step.name, gave, step.want)
			}
		}
		cancel()
	})
}
