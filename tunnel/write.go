package tunnel

import "time"

// claim takes the writer's role, if there is something to write and nobody has it.
// Who has claimed it calls turn, or starts write; with mu held.
func (c *Conn) claim() bool {
	if c.busy || c.err != nil || c.sched.empty() {
		return false
	}
	c.busy = true
	return true
}

// release gives the writer's role up; with mu held.
func (c *Conn) release() {
	c.busy = false
	if c.freed != nil {
		close(c.freed)
		c.freed = nil
	}
}

// unlockAndWrite gives mu back and writes what waits, as far as that needs no
// waiting. The loop that reads does not use it, but kick.
func (c *Conn) unlockAndWrite() {
	claimed := c.claim()
	c.mu.Unlock()
	if claimed {
		c.turn()
	}
}

// kick has what waits written by somebody else; with mu held.
func (c *Conn) kick() {
	if c.claim() {
		c.spawn()
	}
}

// spawn hands the writer's role to a goroutine; with mu held.
func (c *Conn) spawn() {
	if c.err != nil {
		c.release()
		return
	}
	c.writers.Add(1)
	go c.write()
}

// turn writes one message if that is possible without waiting. Whatever is left is
// a goroutine's.
func (c *Conn) turn() {
	c.mu.Lock()
	if !c.link.tries() {
		c.spawn()
		c.mu.Unlock()
		return
	}
	b := c.gather()
	c.mu.Unlock()
	c.sendNow(b)
}

// sendNow sends a batch as its caller, who has the writer's role and gives it up.
func (c *Conn) sendNow(b *batch) {
	done, err := c.send(b), error(nil)
	if done == nil {
		var all bool
		all, err = c.link.flush(false)
		c.mu.Lock()
		if err == nil && (!all || !c.sched.empty()) {
			c.spawn()
		} else {
			c.release()
		}
		c.mu.Unlock()
	} else {
		err = done
	}
	if err != nil {
		c.fail(err)
	}
}

// write writes until nothing waits.
func (c *Conn) write() {
	defer c.writers.Done()
	for {
		began := time.Now()
		if _, err := c.link.flush(true); err != nil {
			c.fail(err)
			return
		}
		took := time.Since(began)
		c.mu.Lock()
		if c.pace.note(took) {
			c.link.keepShort(c.pace.limit())
		}
		if c.err != nil || c.sched.empty() {
			c.release()
			c.mu.Unlock()
			return
		}
		b := c.gather()
		c.mu.Unlock()
		if err := c.send(b); err != nil {
			c.fail(err)
			return
		}
	}
}

// send makes a message of a batch and frees it.
func (c *Conn) send(b *batch) error {
	defer b.free()
	if b.size == 0 && len(b.control) == 0 {
		return nil
	}
	return c.link.send(b)
}
