package server

import (
	"context"
	"runtime/debug"
	"time"
)

// When agents are a crowd, and after how long without another one it is over.
const (
	crowdOf   = 100
	calmAfter = 10 * time.Second
)

// calm gives memory back after a crowd, until ctx ends. What hundreds of handshakes
// at once needed is not needed again soon; the runtime by itself returns it with the
// garbage that is made, and a server whose agents rest makes little.
func calm(ctx context.Context, came func() uint64, giveBack func()) {
	tick := time.NewTicker(calmAfter)
	defer tick.Stop()
	last, served := came(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := came()
		if now == last && now-served >= crowdOf {
			giveBack()
			served = now
		}
		last = now
	}
}

// giveBack returns to the system what is not used.
func giveBack() { debug.FreeOSMemory() }
