package paths

import "sync/atomic"

// What is counted of packets.
const (
	lostInQueue = iota // came faster than the machine takes them
	notOurs            // began as a probe does, and is none
	forged             // not sealed by a peer, or by nobody's key
	replayed           // seen before, or of an earlier life
	unproven           // a ping without our token: answered only
	tooMany            // pings of a peer beyond its rate: not answered
	unasked            // answers that nothing waits for
	unsent             // probes that our own kernel refused
	countEnd
)

// counts are numbers of packets since the start.
type counts [countEnd]atomic.Uint64

func (c *counts) add(what int) { c[what].Add(1) }

// Counts are packets that came to nothing, by what became of them, since the start.
func (p *Paths) Counts() map[string]uint64 {
	out := map[string]uint64{}
	for i, name := range [countEnd]string{"lost", "malformed", "forged", "replayed", "unproven", "limited", "unasked", "unsent"} {
		out[name] = p.counts[i].Load()
	}
	return out
}
