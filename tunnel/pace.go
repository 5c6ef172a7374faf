package tunnel

import "time"

// A message that takes long to leave holds up what became urgent meanwhile. So on a
// slow way messages are shorter, and the kernel is given less that it cannot send.
const (
	slowFlush  = 20 * time.Millisecond
	quickFlush = 5 * time.Millisecond
	mostHalved = 3 // times: 24 KB
)

// pace is how often the size of messages was halved. Guarded by Conn.mu.
type pace struct{ halved int }

// limit returns how long a message may be, in bytes.
func (p *pace) limit() int { return batchSize >> p.halved }

// note takes in how long a message took to leave, and says whether the limit is
// another now.
func (p *pace) note(took time.Duration) bool {
	switch {
	case took > slowFlush && p.halved < mostHalved:
		p.halved++
	case took < quickFlush && p.halved > 0:
		p.halved--
	default:
		return false
	}
	return true
}
