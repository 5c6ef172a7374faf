package apart

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/relay"
)

// session is the time in which one process is spoken with.
type session struct {
	c     *Client
	l     *line
	born  time.Time
	beats atomic.Int32 // since something came

	mu    sync.Mutex // guards all below
	stats relay.Stats
	still time.Time // since when the process has carried nothing
}

// session speaks until the process ends, hangs, or is to be replaced, and returns why.
func (c *Client) session(ctx context.Context, l *line) error {
	s := &session{c: c, l: l, born: time.Now(), still: time.Now()}
	if err := l.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	heard := make(chan error, 1)
	go func() { heard <- s.hear() }()
	err := s.say(ctx, heard)
	l.conn.Close()
	if <-heard; err == nil {
		err = errEnded
	}
	c.mu.Lock()
	c.older, c.stats = plus(c.older, c.stats), relay.Stats{Ports: c.stats.Ports}
	c.mu.Unlock()
	return err
}

// hear takes what the process says.
func (s *session) hear() error {
	var buf []byte
	for {
		kind, payload, next, err := readFrame(s.l.in, buf)
		if err != nil {
			return fmt.Errorf("%w: %w", errEnded, err)
		}
		buf = next
		s.heard()
		switch kind {
		case kindProbe:
			p, err := parseProbe(payload)
			if err != nil {
				return err
			}
			s.c.in.probe(p)
		case kindMessage:
			m, err := parseMessage(payload)
			if err != nil {
				return err
			}
			s.take(m)
		}
	}
}

// heard notes that the process lives.
func (s *session) heard() {
	s.beats.Store(0)
	s.c.mu.Lock()
	s.c.mute = false
	s.c.mu.Unlock()
}

// say says what is to be said. The end of who hears is handed back to the channel.
func (s *session) say(ctx context.Context, heard chan error) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	own := hello{Protocol: Protocol, Release: s.c.cfg.Release, PID: os.Getpid(), Of: s.c.identity()}
	news := s.c.news(true)
	whole := len(news) > 0
	err := s.write(append([]message{{Hello: &own}}, news...))
	for err == nil {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case err = <-heard:
			heard <- err
		case b := <-s.c.out.probes:
			err = s.push(appendProbe(nil, b))
		case <-s.c.dirty:
			news = s.c.news(!whole)
			whole = whole || len(news) > 0
			err = s.write(news)
		case <-tick.C:
			s.c.tell(nil)
			if err = s.judge(); err == nil {
				err = s.write([]message{{Beat: true}})
			}
		}
	}
	return err
}

func (s *session) write(ms []message) error {
	for _, m := range ms {
		b, err := appendMessage(nil, m)
		if err == nil {
			err = s.push(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) push(b []byte) error {
	if err := s.l.conn.SetWriteDeadline(time.Now().Add(sayWithin)); err != nil {
		return err
	}
	if _, err := s.l.conn.Write(b); err != nil {
		return fmt.Errorf("%w: %w", errEnded, err)
	}
	return nil
}

// judge tells whether the process hangs, or may be replaced.
func (s *session) judge() error {
	if s.beats.Add(1) > hungAfter {
		return errHung
	}
	s.mu.Lock()
	quiet := time.Since(s.still) > quietFor
	s.mu.Unlock()
	if quiet && s.l.hello.Release != s.c.cfg.Release {
		return errReplace
	}
	return nil
}

// take does what a message says.
func (s *session) take(m message) {
	if s.c.located(m.Ports) {
		signal(s.c.moves)
	}
	if m.Stats != nil {
		s.count(*m.Stats)
	}
	if m.Servers != nil && s.c.serve(*m.Servers, time.Since(s.born) < graceOfNew) {
		signal(s.c.notes)
	}
}

// count notes counts, and since when they stand still.
func (s *session) count(now relay.Stats) {
	s.mu.Lock()
	was := s.stats
	s.stats = now
	if was.FramesIn != now.FramesIn || was.FramesOut != now.FramesOut || was.Carried != now.Carried {
		s.still = time.Now()
	}
	s.mu.Unlock()
	s.c.mu.Lock()
	s.c.stats = now
	s.c.mu.Unlock()
}

// located notes where ports are, and tells whether one is elsewhere than was
// thought.
func (c *Client) located(ports []port) (moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range ports {
		k := key{p.Peer, p.Slot}
		was, known := c.ports[k]
		moved = moved || c.missed[k] || known && was != p.At
		c.ports[k] = p.At
		delete(c.missed, k)
		if told := c.waiting[k]; told != nil {
			close(told)
			delete(c.waiting, k)
		}
	}
	return moved
}

// serve notes which servers there are, and tells whether they are others. A process that
// is new has none yet.
func (c *Client) serve(servers []string, grace bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(servers) == 0 && grace {
		return false
	}
	same := c.said && slices.Equal(c.servers, servers)
	c.servers, c.said = slices.Clone(servers), true
	return !same
}
