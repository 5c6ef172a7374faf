package tunnel

import "sync"

// A batch is what one message is made of: encoded control frames, then frames
// whose bodies are still where they waited.
type batch struct {
	control []byte
	items   []item
	size    int
	limit   int // of all of it, bytes
}

type item struct {
	head  [headerSize]byte
	body  []byte
	chunk *chunk // to be freed once sent; nil: not ours
}

// batches rest here while no session writes.
var batches = sync.Pool{New: func() any { return new(batch) }}

func newBatch(limit int) *batch {
	b := batches.Get().(*batch)
	b.limit = limit
	return b
}

// room returns how long a body still fits.
func (b *batch) room() int { return b.limit - len(b.control) - b.size - headerSize }

// data adds a frame with a body.
func (b *batch) data(k kind, stream uint32, body []byte, free *chunk) {
	b.items = append(b.items, item{body: body, chunk: free})
	header{kind: k, length: len(body), stream: stream}.put(b.items[len(b.items)-1].head[:])
	b.size += headerSize + len(body)
}

// free gives back what the batch held, after it was sent.
func (b *batch) free() {
	for i := range b.items {
		if c := b.items[i].chunk; c != nil {
			c.free()
		}
	}
	clear(b.items)
	b.items, b.control, b.size = b.items[:0], b.control[:0], 0
	if cap(b.control) <= 64<<10 {
		batches.Put(b)
	}
}
