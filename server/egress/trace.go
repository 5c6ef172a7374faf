package egress

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"
)

// maxTraces is how many dials are remembered.
const maxTraces = 512

// traces are the last dials, in a ring. They are safe for concurrent use.
type traces struct {
	mu   sync.Mutex
	ring [maxTraces]*trace
	next int
}

// trace is one dial, from its beginning to the end of its connection.
type trace struct {
	id string
	by Asker
	to Request
	at time.Time

	sent, received atomic.Int64

	mu       sync.Mutex
	addr     string // that was dialled
	way      Way
	server   string // that it was handed on to
	steps    []step
	mark     time.Time // when the last step ended
	opened   time.Time
	closed   time.Time
	refusal  *Refusal
	released bool
}

// step is a part of a dial and how long it took.
type step struct {
	name string
	took time.Duration
}

// maxSteps bounds the steps of one dial: a name with many addresses has many.
const maxSteps = 32

func (t *traces) begin(id string, by Asker, to Request) *trace {
	if id == "" {
		id = rand.Text()[:16]
	}
	d := &trace{id: id, by: by, to: to, at: time.Now()}
	d.mark = d.at
	t.mu.Lock()
	t.ring[t.next%maxTraces] = d
	t.next++
	t.mu.Unlock()
	return d
}

// newest are the dials, the newest first.
func (t *traces) newest() []*trace {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*trace
	for i := range min(t.next, maxTraces) {
		out = append(out, t.ring[(t.next-1-i)%maxTraces])
	}
	return out
}

// step says that a part is done.
func (d *trace) step(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if len(d.steps) < maxSteps {
		d.steps = append(d.steps, step{name, now.Sub(d.mark)})
	}
	d.mark = now
}

// toward says what is dialled, and which way.
func (d *trace) toward(a aim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.way, d.addr = a.way, ""
	if a.addr.IsValid() {
		d.addr = a.addr.String()
	}
}

// over says that another server was asked.
func (d *trace) over(server string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.server = server
}

// end says what came of it. It answers with how long that took.
func (d *trace) end(r *Refusal) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if r == nil {
		d.opened = now
	} else {
		d.closed, d.refusal = now, r
	}
	return now.Sub(d.at)
}

// close says that the connection has ended; true, the first time.
func (d *trace) close() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.released {
		return false
	}
	d.released, d.closed = true, time.Now()
	return true
}

// result is Dialling, Open, Closed, or the code of a refusal.
func (d *trace) result() string {
	switch {
	case d.refusal != nil:
		return string(d.refusal.Code)
	case d.opened.IsZero():
		return "Dialling"
	case d.closed.IsZero():
		return "Open"
	}
	return "Closed"
}
