package tunnel

import (
	"fmt"
	"io"
)

// MaxDatagram returns the longest datagram, in bytes.
func (c *Conn) MaxDatagram() int { return maxDatagram }

// SendDatagram sends what the parts are together, none of which it keeps, without
// waiting and without a promise: when too much waits already, the oldest are thrown
// away for it and counted. An error says that no datagram like this one can be sent.
func (c *Conn) SendDatagram(parts ...[]byte) error {
	g, err := datagramOf(parts)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if err := c.queueDatagram(g); err != nil {
		c.mu.Unlock()
		return err
	}
	c.unlockAndWrite()
	return nil
}

// QueueDatagram is SendDatagram for one of several that go at once: what is queued
// may wait until Flush, or until something else is sent.
func (c *Conn) QueueDatagram(parts ...[]byte) error {
	g, err := datagramOf(parts)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queueDatagram(g)
}

// Flush sends what is queued, without waiting.
func (c *Conn) Flush() {
	c.mu.Lock()
	c.unlockAndWrite()
}

// datagramOf copies the parts of a datagram.
func datagramOf(parts [][]byte) (*chunk, error) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > maxDatagram {
		return nil, fmt.Errorf("tunnel: a datagram has %d bytes, more than %d", n, maxDatagram)
	}
	g := newChunk(max(n, 1))
	for _, p := range parts {
		g.end += copy(g.buf[g.end:], p)
	}
	return g, nil
}

// queueDatagram puts one in line, and owns it; with mu held. What is on a relay is
// worth less the older it is: the sender has sent it again.
func (c *Conn) queueDatagram(g *chunk) error {
	if c.err != nil {
		g.free()
		return c.err
	}
	d := &c.sched
	for d.datagrams.head != nil && d.waiting+len(g.buf) > c.config.DatagramQueue {
		old := d.datagrams.pop()
		d.waiting -= len(old.buf)
		old.free()
		c.stats.DatagramsDropped++
	}
	d.datagrams.push(g)
	d.waiting += len(g.buf)
	return nil
}

// takeDatagram hands on a datagram.
func (c *Conn) takeDatagram(h header, r io.Reader) error {
	g := newChunk(max(h.length, 1))
	defer g.free()
	b := g.buf[:h.length]
	if _, err := io.ReadFull(r, b); err != nil {
		return readError(err)
	}
	c.mu.Lock()
	c.stats.DatagramsIn++
	c.mu.Unlock()
	if c.config.Datagram != nil {
		c.config.Datagram(b)
	}
	return nil
}
