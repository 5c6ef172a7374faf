package egress

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Result is how a dial ended.
type Result string

// The results.
const (
	Connected   Result = "connected"
	Denied      Result = "denied"      // by a rule
	Malformed   Result = "malformed"   // not a request
	Unresolved  Result = "unresolved"  // no address behind the name
	Refused     Result = "refused"     // by the target
	Unreachable Result = "unreachable" // no way to it
	TimedOut    Result = "timeout"
	Overloaded  Result = "overloaded" // a limit of the node
	Canceled    Result = "canceled"   // the opener did not wait
	Failed      Result = "failed"     // otherwise
)

// Counts is what was done since the start.
type Counts struct {
	Streams     int                // open now
	Dials       map[Result]uint64  // that have ended
	DialSeconds map[string]float64 // by result
	Denials     map[string]uint64  // by rule, without the names in it
	BytesForth  uint64             // from servers to targets, of streams that have ended
	BytesBack   uint64
}

type counts struct {
	streams            atomic.Int64
	bytesTo, bytesFrom atomic.Uint64
	mu                 sync.Mutex
	dials              map[Result]uint64
	seconds            map[string]float64
	denials            map[string]uint64
}

func (c *counts) opened()       { c.streams.Add(1) }
func (c *counts) closed()       { c.streams.Add(-1) }
func (c *counts) forth(n int64) { c.bytesTo.Add(uint64(n)) }
func (c *counts) back(n int64)  { c.bytesFrom.Add(uint64(n)) }

func (c *counts) dial(r Result, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dials == nil {
		c.dials, c.seconds = map[Result]uint64{}, map[string]float64{}
	}
	c.dials[r]++
	c.seconds[string(r)] += took.Seconds()
}

func (c *counts) denied(rule string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denials == nil {
		c.denials = map[string]uint64{}
	}
	c.denials[rule]++
}

// Counts is how much was done until now.
func (e *Egress) Counts() Counts {
	c := &e.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counts{
		Streams: int(c.streams.Load()), Dials: maps.Clone(c.dials), DialSeconds: maps.Clone(c.seconds), Denials: maps.Clone(c.denials),
		BytesForth: c.bytesTo.Load(), BytesBack: c.bytesFrom.Load(),
	}
}

// quiet is how long the log says nothing more of the same refusal.
const quiet = 10 * time.Second

// hush keeps a flood out of the log. What is said is of a small set.
type hush struct {
	mu   sync.Mutex
	last map[string]time.Time
	held map[string]int
}

// may tells whether something may be said again, and how often it was not.
func (h *hush) may(what string, now time.Time) (held int, say bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		h.last, h.held = map[string]time.Time{}, map[string]int{}
	}
	if last, ok := h.last[what]; ok && now.Sub(last) < quiet {
		h.held[what]++
		return 0, false
	}
	held = h.held[what]
	h.last[what], h.held[what] = now, 0
	return held, true
}
