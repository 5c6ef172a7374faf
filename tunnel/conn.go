package tunnel

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Conn is one end of a session: a websocket and all that goes over it. Its methods
// are safe for concurrent use.
type Conn struct {
	link   link
	config Config
	budget *Budget // of this session, within the process's
	start  time.Time
	heard  atomic.Int64 // when something last came, on the session's clock

	mu       sync.Mutex // guards all below and all of every Stream but its bytes
	err      error      // set once, when the session ends
	streams  map[uint32]*Stream
	next     uint32 // number of the next stream that we open
	theirs   uint32 // number of the last stream that they opened
	incoming int    // streams in the map that they opened
	most     int    // streams that were in the map at once
	accepts  backlog
	sched    scheduler
	busy     bool          // somebody has the writer's role
	freed    chan struct{} // closed when it is given up; nil: nobody waits
	drains   bool          // we take no more streams
	shut     bool          // the other end takes no more
	drained  chan struct{}
	quiet    chan struct{} // closed when no stream is left; nil: nobody waits
	pings    pinger
	flow     flow
	pace     pace
	stats    Stats

	writers sync.WaitGroup
	done    chan struct{}
}

// Stats are counts of a session since it began, and what it holds now.
type Stats struct {
	Streams          int    // open now
	Opened, Accepted uint64 // streams by this end, by the other
	Refused          uint64 // by this end, streams of the other
	Resets           uint64 // streams that ended by a reset, of either end
	Violations       uint64 // of the protocol, by the other end, that cost a stream
	Strays           uint64 // frames for streams that were gone, frames of unknown kinds
	BytesIn          uint64 // of streams
	BytesOut         uint64
	DatagramsIn      uint64
	DatagramsOut     uint64
	DatagramsDropped uint64 // by this end, its queue being full
	WindowStalls     uint64 // times that a stream waited for the other end to read
	Shed             uint64 // streams reset because the budget was used up
	Held             int64  // bytes, waiting to be read or sent
	Promised         int64  // bytes that the other end may send without asking
}

func newConn(ws *websocket.Conn, cork *Cork, client bool, config Config) *Conn {
	config = config.withDefaults()
	c := &Conn{
		link:    link{ws: ws, cork: cork, patience: config.DeadAfter},
		config:  config,
		budget:  config.Budget.within(config.SessionBudget),
		start:   time.Now(),
		streams: map[uint32]*Stream{},
		next:    2,
		drained: make(chan struct{}),
		done:    make(chan struct{}),
	}
	if client {
		c.next = 1
	}
	c.accepts.wake = make(chan struct{}, 1)
	config.Budget.join(c)
	c.link.silence()
	c.link.keepShort(notSent)
	go c.run()
	c.beat()
	return c
}

// run reads until the session ends, and sees everybody off.
func (c *Conn) run() {
	err := c.read()
	c.fail(err)
	c.writers.Wait()
	close(c.done)
}

// clock returns the time since the session began.
func (c *Conn) clock() time.Duration { return time.Since(c.start) }

// fail ends the session. The first reason stays.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	first := c.condemn(err)
	c.mu.Unlock()
	if first {
		c.link.kill()
	}
}

// condemn ends everything of the session but its connection, and says whether that
// was not done before; with mu held.
func (c *Conn) condemn(err error) bool {
	if c.err != nil {
		return false
	}
	c.err = err
	c.config.Budget.leave(c)
	c.pings.stop()
	for _, s := range c.streams {
		s.abort(err)
	}
	clear(c.streams)
	c.sched = scheduler{}
	c.accepts.close()
	c.away()
	if c.quiet != nil {
		close(c.quiet)
		c.quiet = nil
	}
	return true
}

// Close ends the session and all its streams, tells the other end if that can be
// done at once, and waits until nothing of it runs any more.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.awaitRole()
	idle := !c.busy && c.link.cork != nil
	first := c.condemn(fmt.Errorf("tunnel: session closed by this end: %w", net.ErrClosed))
	c.busy = c.busy || idle
	c.mu.Unlock()
	if first {
		if idle {
			c.goodbye()
		}
		c.link.kill()
	}
	<-c.done
	return nil
}

// farewell is how long the last message may wait for the one before it, and where only
// waiting tells whether a connection takes it, for that.
const farewell = 100 * time.Millisecond

// awaitRole waits a moment for who writes to have done so; with mu held.
func (c *Conn) awaitRole() {
	if !c.busy || c.err != nil {
		return
	}
	if c.freed == nil {
		c.freed = make(chan struct{})
	}
	freed := c.freed
	c.mu.Unlock()
	moment := time.NewTimer(farewell)
	defer moment.Stop()
	select {
	case <-freed:
	case <-moment.C:
	}
	c.mu.Lock()
}

// goodbye is the last message, if it can be sent at once.
func (c *Conn) goodbye() {
	b := newBatch(batchSize)
	b.control = appendReason(b.control, kindGoAway, 0, Refusal{Code: Closed})
	if c.send(b) != nil {
		return
	}
	if c.link.tries() {
		_, _ = c.link.flush(false)
	} else {
		_, _ = c.link.cork.flush(farewell)
	}
}

// Done is closed when the session has ended and nothing of it runs any more.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the session ended, nil as long as it stands.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Drain tells the other end to open no more streams. Those that are open go on.
func (c *Conn) Drain() {
	c.mu.Lock()
	if !c.drains && c.err == nil {
		c.drains = true
		c.sched.away = &Refusal{Code: Draining}
	}
	c.unlockAndWrite()
}

// Draining is closed when the other end takes no more streams, or the session has
// ended.
func (c *Conn) Draining() <-chan struct{} { return c.drained }

// Quiet waits until no stream is open.
func (c *Conn) Quiet(ctx context.Context) error {
	for {
		c.mu.Lock()
		if len(c.streams) == 0 {
			c.mu.Unlock()
			return nil
		}
		if c.quiet == nil {
			c.quiet = make(chan struct{})
		}
		quiet := c.quiet
		c.mu.Unlock()
		select {
		case <-quiet:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stats returns the counts of the session.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Streams, s.Held, s.Promised = len(c.streams), c.budget.Held(), c.budget.Promised()
	return s
}

// LocalAddr returns the address of this end of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.link.ws.LocalAddr() }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.link.ws.RemoteAddr() }

// attach has frames find a stream.
func (c *Conn) attach(s *Stream) {
	c.streams[s.id] = s
	c.most = max(c.most, len(c.streams))
	if !c.ours(s.id) {
		c.incoming++
	}
}

// detach takes a stream off the session: no frame finds it any more.
func (c *Conn) detach(s *Stream) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	if !c.ours(s.id) {
		c.incoming--
	}
	if len(c.streams) == 0 {
		if c.most > 1024 {
			c.streams, c.most = map[uint32]*Stream{}, 0 // a map never shrinks
		}
		if c.quiet != nil {
			close(c.quiet)
			c.quiet = nil
		}
	}
}

// ours says whether a stream has a number that this end gives out.
func (c *Conn) ours(id uint32) bool { return id&1 == c.next&1 }
