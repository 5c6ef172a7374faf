package tunnel

import (
	"fmt"
	"io"
)

// MaxDatagram returns the longest datagram, in bytes.
func (c *Conn) MaxDatagram() int { return maxDatagram }

// SendDatagram sends b, which it does not keep, without waiting and without a
// promise: when too many wait already it is thrown away and counted. An error says
// that no datagram like this one can be sent.
func (c *Conn) SendDatagram(b []byte) error {
	if len(b) > maxDatagram {
		return fmt.Errorf("tunnel: a datagram has %d bytes, more than %d", len(b), maxDatagram)
	}
	g := newChunk(max(len(b), 1))
	g.end = copy(g.buf, b)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		g.free()
		return c.err
	}
	if c.sched.waiting+len(g.buf) > maxDatagrams {
		c.stats.DatagramsDropped++
		c.mu.Unlock()
		g.free()
		return nil
	}
	c.sched.datagrams.push(g)
	c.sched.waiting += len(g.buf)
	c.unlockAndWrite()
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
