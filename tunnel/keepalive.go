package tunnel

import (
	"encoding/binary"
	"fmt"
	"time"
)

// pinger is what a session knows of the other end's life and of the way there.
type pinger struct {
	timer  *time.Timer
	beaten time.Duration    // when beat last ran
	due    time.Duration    // when the next ping is
	sent   bool             // a ping is unanswered
	at     time.Duration    // when it was sent
	rtt    time.Duration    // 0: not known
	low    [2]time.Duration // the shortest of this half minute, and of the one before
	since  time.Duration    // when this half minute began
	echo   [8]byte          // what is to be answered
}

func (p *pinger) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// beat sends a ping when it is time for one, and ends a session whose other end
// was silent for too long. Any byte is a sign of life. Who was himself asleep (a
// stopped process, a suspended machine) cannot tell, and asks first.
func (c *Conn) beat() {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	now, p := c.clock(), &c.pings
	if slept := now - p.beaten; p.beaten != 0 && slept > c.config.PingEvery+c.config.DeadAfter/2 {
		c.heard.Store(int64(now))
	}
	p.beaten = now
	dead := time.Duration(c.heard.Load()) + c.config.DeadAfter
	if now >= dead {
		c.mu.Unlock()
		c.fail(fmt.Errorf("%w for %v", ErrDead, c.config.DeadAfter))
		return
	}
	if now >= p.due {
		c.sched.ping, p.due = true, now+c.config.PingEvery
	}
	next := min(p.due, dead) - now
	if p.timer == nil {
		p.timer = time.AfterFunc(next, c.beat)
	} else {
		p.timer.Reset(next)
	}
	c.unlockAndWrite()
}

// ping returns what is to be sent with the next ping; with mu held.
func (p *pinger) ping(now time.Duration) (b [8]byte) {
	p.sent, p.at = true, now
	binary.BigEndian.PutUint64(b[:], uint64(now))
	return b
}

// pong takes in an answer; with mu held. Of the round trips that were measured the
// shorter counts more: what queues add is not the way.
func (p *pinger) pong(b []byte, now time.Duration) {
	if !p.sent || binary.BigEndian.Uint64(b) != uint64(p.at) {
		return
	}
	p.sent = false
	took := max(now-p.at, 1)
	if now-p.since > 30*time.Second {
		p.low, p.since = [2]time.Duration{0, p.low[0]}, now
	}
	if p.low[0] == 0 || took < p.low[0] {
		p.low[0] = took
	}
	if p.rtt == 0 || took < p.rtt {
		p.rtt = took
	} else {
		p.rtt += (took - p.rtt) / 8
	}
}

// least returns the shortest round trip of late, 0 if none was measured: what the
// way takes when nothing waits on it. With mu held.
func (p *pinger) least() time.Duration {
	if p.low[1] != 0 {
		return min(p.low[0], p.low[1])
	}
	return p.low[0]
}

// RTT returns the round trip to the other end, 0 if none was measured yet.
func (c *Conn) RTT() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pings.rtt
}

// Silence returns for how long nothing has come from the other end.
func (c *Conn) Silence() time.Duration {
	return max(c.clock()-time.Duration(c.heard.Load()), 0)
}

// Ping asks the other end for a sign of life, beside those that are asked for anyway.
func (c *Conn) Ping() {
	c.mu.Lock()
	c.sched.ping = c.err == nil
	c.unlockAndWrite()
}
