package pod

import (
	"context"
	"sync"

	"github.com/weft-net/weft/proto/cniwire"
)

// turns lets one verb at a time work on an attachment.
type turns struct {
	mu   sync.Mutex
	busy map[ID]chan struct{}
}

// try takes the attachment if no verb works on it; else it returns nil.
func (t *turns) try(id ID) func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, busy := t.busy[id]; busy {
		return nil
	}
	return t.grab(id)
}

// grab marks the attachment as busy. The caller holds mu.
func (t *turns) grab(id ID) func() {
	if t.busy == nil {
		t.busy = map[ID]chan struct{}{}
	}
	done := make(chan struct{})
	t.busy[id] = done
	return func() {
		t.mu.Lock()
		delete(t.busy, id)
		t.mu.Unlock()
		close(done)
	}
}

// take waits for the attachment and returns what gives it back.
func (t *turns) take(ctx context.Context, id ID) (func(), error) {
	for {
		t.mu.Lock()
		wait, busy := t.busy[id]
		if !busy {
			defer t.mu.Unlock()
			return t.grab(id), nil
		}
		t.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, cniwire.Errorf(cniwire.CodeTryAgain, "pod: another command for %v still runs", id)
		}
	}
}
