package konnectivity

import (
	"context"
	"sync"
)

// maxQueued bounds what waits for one target, in bytes. One packet may be larger: it
// waits alone.
const maxQueued = 256 << 10

// queue is what a client has sent and a target not taken yet.
type queue struct {
	mu       sync.Mutex
	packets  [][]byte
	size     int
	shared   bool // who puts does not wait
	finished bool // nothing is put any more
	closed   bool // nothing is taken any more

	more chan struct{} // room for one: something to take, or the end
	room chan struct{} // room for one: something may have been taken, or the end
}

func newQueue(shared bool) *queue {
	return &queue{shared: shared, more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// share ends waiting for room, now and later.
func (q *queue) share() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shared = true
	wake(q.room)
}

// put adds a packet, and waits for room if nobody shares the stream. It answers
// false if there is none; what is put after the end is dropped.
func (q *queue) put(ctx context.Context, b []byte) bool {
	for {
		q.mu.Lock()
		switch {
		case q.finished || q.closed:
			q.mu.Unlock()
			return true
		case q.size == 0 || q.size+len(b) <= maxQueued:
			q.packets = append(q.packets, b)
			q.size += len(b)
			wake(q.more)
			q.mu.Unlock()
			return true
		case q.shared:
			q.mu.Unlock()
			return false
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-ctx.Done():
			return true
		}
	}
}

// take waits for a packet, and counts it as waiting until the next is asked for. It
// answers false at the end.
func (q *queue) take(ctx context.Context, before []byte) ([]byte, bool) {
	for {
		q.mu.Lock()
		q.size -= len(before)
		if len(before) > 0 {
			wake(q.room)
		}
		before = nil
		if q.closed || q.finished && len(q.packets) == 0 {
			q.mu.Unlock()
			return nil, false
		}
		if len(q.packets) > 0 {
			b := q.packets[0]
			q.packets[0] = nil
			if q.packets = q.packets[1:]; len(q.packets) == 0 {
				q.packets = nil
			}
			q.mu.Unlock()
			return b, true
		}
		q.mu.Unlock()
		select {
		case <-q.more:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// finish lets what is there be taken, and nothing be put any more.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	wake(q.more)
	wake(q.room)
}

// close drops what is there.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.packets, q.size = true, nil, 0
	wake(q.more)
	wake(q.room)
}
