package mesh

import (
	"testing"
	"time"
)

// Probes that waited in the device for the first handshake say neither how long the
// path takes nor what it loses.
func TestProbesBeforeTheFirstSession(t *testing.T) {
	var h health
	for id := range uint64(4) {
		h.sent(id, epoch.Add(time.Duration(id)*300*time.Millisecond))
	}
	at := epoch.Add(1200 * time.Millisecond)
	h.got(1, 900*time.Millisecond, at) // the others were thrown away
	h.sent(10, at)
	h.got(10, 3*time.Millisecond, at.Add(3*time.Millisecond))
	h.expire(at.Add(10 * time.Second))
	if h.rtt != 3*time.Millisecond || h.loss > 0 || h.misses > 0 || !h.up {
		t.Errorf("rtt %v, loss %v, %d misses, up %v", h.rtt, h.loss, h.misses, h.up)
	}
}
