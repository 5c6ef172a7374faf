package relay

import "sync"

// Sizes of a burst, in bytes.
const (
	burstSize = 256 << 10
	mostRead  = 64 << 10 // that one system call gives
)

// burst is what was read at once. One is held only between a read and what becomes
// of it, so that a port that is idle holds no memory.
type burst struct {
	buf  []byte
	end  int
	came []piece
}

// piece is what one system call gave: packets of a size, the last may be shorter.
type piece struct{ from, to, size int }

var bursts = sync.Pool{New: func() any { return &burst{buf: make([]byte, burstSize)} }}

func newBurst() *burst { return bursts.Get().(*burst) }

func (b *burst) free() {
	b.end, b.came = 0, b.came[:0]
	bursts.Put(b)
}

// room tells whether one more read fits.
func (b *burst) room() bool { return len(b.buf)-b.end >= mostRead }

// add notes n bytes that were read behind end. A piece that goes on where the one
// before stopped, with packets of the same size, is one with it.
func (b *burst) add(n, size int) {
	if n == 0 {
		return
	}
	from := b.end
	b.end += n
	if len(b.came) > 0 {
		last := &b.came[len(b.came)-1]
		if last.size == size && (last.to-last.from)%size == 0 {
			last.to = b.end
			return
		}
		// One shorter packet may end a run of longer ones.
		if n == size && n < last.size && (last.to-last.from)%last.size == 0 {
			last.to = b.end
			return
		}
	}
	b.came = append(b.came, piece{from, b.end, size})
}

// runs calls f with packets of one size, as many as fit into most bytes and are at
// most count.
func (b *burst) runs(most, count int, f func(size int, payload []byte)) {
	for _, p := range b.came {
		if p.size > most {
			continue // longer than any packet of a device
		}
		step := p.size * min(most/p.size, count)
		for at := p.from; at < p.to; at += step {
			f(p.size, b.buf[at:min(at+step, p.to)])
		}
	}
}

// each calls f with each packet.
func (b *burst) each(f func(packet []byte)) {
	b.runs(mostRead, 1, func(_ int, packet []byte) { f(packet) })
}

// count is how many packets there are.
func (b *burst) count() int {
	n := 0
	for _, p := range b.came {
		n += (p.to - p.from + p.size - 1) / p.size
	}
	return n
}
