package echo

import (
	"net/netip"
	"sync"
	"time"
)

// Rates of requests that are answered, a second, and how many at once; and how many
// nodes and sources are remembered.
const (
	NodeRate    = 20
	NodeBurst   = 60
	SourceRate  = 400
	SourceBurst = 1200
	maxHeld     = 16_384
)

// rates bound what nodes and sources ask.
type rates struct {
	mu      sync.Mutex
	nodes   buckets[who]
	sources buckets[netip.Prefix]
}

func newRates() *rates {
	return &rates{
		nodes:   buckets[who]{rate: NodeRate, burst: NodeBurst, held: map[who]bucket{}},
		sources: buckets[netip.Prefix]{rate: SourceRate, burst: SourceBurst, held: map[netip.Prefix]bucket{}},
	}
}

// take answers whether one more of a node, from an address, is within both rates.
func (r *rates) take(node who, from netip.Addr, now time.Time) bool {
	bits := 32
	if from.Is6() {
		bits = 64 // a host has all of it
	}
	source, err := from.Prefix(bits)
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes.take(node, now) && r.sources.take(source, now)
}

type bucket struct {
	left float64
	at   time.Time
}

// buckets are token buckets by key. Those that are full again are forgotten when there
// are too many; if none is, nobody new is answered.
type buckets[K comparable] struct {
	rate, burst float64
	held        map[K]bucket
	swept       time.Time
}

func (b *buckets[K]) take(k K, now time.Time) bool {
	e, ok := b.held[k]
	if !ok {
		if len(b.held) >= maxHeld && !b.sweep(now) {
			return false
		}
		e = bucket{left: b.burst, at: now}
	}
	e.left = min(b.burst, e.left+now.Sub(e.at).Seconds()*b.rate)
	e.at = now
	allowed := e.left >= 1
	if allowed {
		e.left--
	}
	b.held[k] = e
	return allowed
}

// sweep forgets full buckets, once a second at most, and answers whether there is room.
func (b *buckets[K]) sweep(now time.Time) bool {
	if now.Sub(b.swept) < time.Second {
		return false
	}
	b.swept = now
	for k, e := range b.held {
		if e.left+now.Sub(e.at).Seconds()*b.rate >= b.burst {
			delete(b.held, k)
		}
	}
	return len(b.held) < maxHeld
}
