package tunnel

import "time"

// Sizes of flow control, in bytes (PROTOCOL.md, 4).
const (
	firstWindow = 256 << 10
	leastWindow = 4 << 10
	mostWindow  = 16 << 20
)

// Defaults of Config.
const (
	DefaultPingEvery  = 4 * time.Second
	DefaultDeadAfter  = 10 * time.Second
	DefaultMaxStreams = 16 << 10

	DefaultDatagramQueue = 512 << 10
)

// Config is what an end of a session may choose. The zero value is good.
type Config struct {
	// Budget of the process; nil is one for this session alone.
	Budget *Budget
	// SessionBudget is how much of it this session may hold, in bytes; 0 means 64 MiB.
	SessionBudget int64
	// Datagram is called with each datagram that comes, by the goroutine that
	// reads: it must not block, must not keep the bytes, and must not close the Conn.
	// Nil throws datagrams away.
	Datagram func([]byte)
	// Taken is called by the same goroutine after each message in which datagrams came,
	// under the same conditions: what they caused may be sent together. Nil: not called.
	Taken func()
	// DatagramQueue is how much memory datagrams may hold that wait to be sent, in bytes;
	// 0 means 512 KiB.
	DatagramQueue int
	// PingEvery is the time between two pings; 0 means 4 s. At most half of DeadAfter.
	PingEvery time.Duration
	// DeadAfter is how long the other end may be silent; 0 means 10 s. A write that
	// makes no progress for as long ends the session too.
	DeadAfter time.Duration
	// MaxStreams is how many streams the other end may have open, those included
	// that nobody has accepted yet; 0 means 16,384.
	MaxStreams int
}

// withDefaults returns c with what was left open filled in.
func (c Config) withDefaults() Config {
	if c.Budget == nil {
		c.Budget = NewBudget(0)
	}
	if c.SessionBudget <= 0 {
		c.SessionBudget = DefaultSessionBudget
	}
	if c.PingEvery <= 0 {
		c.PingEvery = DefaultPingEvery
	}
	if c.DeadAfter <= 0 {
		c.DeadAfter = DefaultDeadAfter
	}
	c.PingEvery = min(c.PingEvery, c.DeadAfter/2) // or an idle session would seem dead
	if c.DatagramQueue <= 0 {
		c.DatagramQueue = DefaultDatagramQueue
	}
	c.DatagramQueue = max(c.DatagramQueue, largestChunk) // one always fits
	if c.MaxStreams <= 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	return c
}
