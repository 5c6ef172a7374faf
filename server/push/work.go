package push

import (
	"context"
	"sync"
	"time"
)

// work is the goroutines that Run waits for.
type work struct {
	mu     sync.RWMutex
	closed bool
	group  sync.WaitGroup
}

// start runs f beside the caller. It answers false once end was called.
func (w *work) start(f func()) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return false
	}
	w.group.Go(f)
	return true
}

// aside runs f on a stack of its own and waits for it. A goroutine that stays for
// as long as an agent does keeps the stack that its deepest call needed; what goes
// down to the store is therefore not called on it. It answers false once end was
// called.
func (w *work) aside(f func()) bool {
	done := make(chan struct{})
	if !w.start(func() { defer close(done); f() }) {
		return false
	}
	<-done
	return true
}

// end lets no more work start, and waits for what there is.
func (w *work) end() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.group.Wait()
}

// beats are the parts of a heartbeat's interval: each stream has its part, so that
// not all beat at once.
const beats = 30

// beat has heartbeats sent, until ctx ends: one ticker for all streams.
func (h *Hub) beat(ctx context.Context) {
	tick := time.NewTicker(h.cfg.Heartbeat / beats)
	defer tick.Stop()
	for now := h.tick.Add(1); ; now = h.tick.Add(1) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.mu.RLock()
		for _, s := range h.streams {
			if s.entered%beats == now%beats {
				s.beat()
			}
		}
		h.mu.RUnlock()
	}
}
