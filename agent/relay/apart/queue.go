package apart

import (
	"bytes"
	"sync/atomic"
)

// probesWait is how many probes may wait for the other end. Older ones go first: they
// would come too late to say anything.
const probesWait = 256

// queue are probes that wait.
type queue struct {
	probes  chan probe
	dropped atomic.Uint64
}

func newQueue() *queue { return &queue{probes: make(chan probe, probesWait)} }

// probe puts one in, and takes the oldest out if there is no room.
func (q *queue) probe(p probe) {
	p.data = bytes.Clone(p.data) // it may be of a buffer that is used again
	for {
		select {
		case q.probes <- p:
			return
		default:
		}
		select {
		case <-q.probes:
			q.dropped.Add(1)
		default:
		}
	}
}
