package tunnel

import (
	"math/bits"
	"sync"
)

// A chunk is a piece of pooled memory in a queue. Bytes from off to end wait.
type chunk struct {
	buf      []byte
	off, end int
	next     *chunk
	class    int8
}

const (
	smallestChunk = 512
	largestChunk  = maxData
	chunkClasses  = 8 // 512 bytes to 64 KB, in powers of two
)

// chunks are where chunks rest between uses, one pool for each size. What nobody
// uses is given back by the garbage collector.
var chunks [chunkClasses]sync.Pool

// newChunk returns an empty chunk with room for n bytes, at most 64 KB.
func newChunk(n int) *chunk {
	class := 0
	if n > smallestChunk {
		class = bits.Len(uint(n-1)) - bits.Len(uint(smallestChunk-1))
	}
	if c, _ := chunks[class].Get().(*chunk); c != nil {
		return c
	}
	return &chunk{buf: make([]byte, smallestChunk<<class), class: int8(class)}
}

// free gives a chunk back; nobody else may hold it.
func (c *chunk) free() {
	c.off, c.end, c.next = 0, 0, nil
	chunks[c.class].Put(c)
}

func (c *chunk) len() int      { return c.end - c.off }
func (c *chunk) bytes() []byte { return c.buf[c.off:c.end] }
func (c *chunk) room() []byte  { return c.buf[c.end:] }

// floor returns the largest size of a chunk that n bytes fill whole.
func floor(n int) int {
	return min(1<<(bits.Len(uint(n))-1), largestChunk)
}

// queue is a list of chunks.
type queue struct {
	head, tail *chunk
	size       int // bytes in it
}

func (q *queue) push(c *chunk) {
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
	q.size += c.len()
}

// append copies b to the end, into the last chunk if it has room.
func (q *queue) append(b []byte) {
	if q.tail != nil {
		n := copy(q.tail.room(), b)
		q.tail.end += n
		q.size += n
		b = b[n:]
	}
	if len(b) == 0 {
		return
	}
	n := len(b)
	if q.tail != nil {
		n = max(n, 4<<10) // many small ones came: let them share
	}
	c := newChunk(n)
	c.end = copy(c.buf, b)
	q.push(c)
}

// pop takes the first chunk out.
func (q *queue) pop() *chunk {
	c := q.head
	q.head = c.next
	if q.head == nil {
		q.tail = nil
	}
	c.next = nil
	q.size -= c.len()
	return c
}

// advance takes n bytes from the first chunk and gives it back when it is empty.
// A chunk that is the last may still be appended to, and is not.
func (q *queue) advance(n int) {
	q.head.off += n
	q.size -= n
	if q.head.len() == 0 {
		c := q.head
		q.head = c.next
		if q.head == nil {
			q.tail = nil
		}
		c.free()
	}
}

// clear gives up all chunks to the garbage collector: somebody may still look at one.
func (q *queue) clear() { *q = queue{} }
