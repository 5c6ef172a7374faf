package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// relay is a path between server and agent: it holds back what comes for a time,
// and bounds nothing of what is under way. A cut leaves the connections that stand
// open and silent, as a translation that was forgotten does; new ones pass.
type relay struct {
	to    string
	delay time.Duration
	mu    sync.Mutex
	cut   *atomic.Bool // of the connections since the last cut
}

func newRelay(s spec) (player, error) {
	l, err := net.Listen("tcp", s.Dial)
	if err != nil {
		return nil, err
	}
	r := &relay{to: s.Listen, delay: s.Delay, cut: new(atomic.Bool)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.pass(c)
		}
	}()
	return r, nil
}

func (r *relay) do(_ context.Context, o order) (answer, error) {
	switch o.Do {
	case "look":
		return answer{}, nil
	case "cut":
		r.mu.Lock()
		defer r.mu.Unlock()
		r.cut.Store(true)
		r.cut = new(atomic.Bool)
		return answer{}, nil
	}
	return answer{}, fmt.Errorf("relay: no order %q", o.Do)
}

func (r *relay) pass(a net.Conn) {
	b, err := net.Dial("tcp", r.to)
	if err != nil {
		a.Close()
		return
	}
	r.mu.Lock()
	cut := r.cut
	r.mu.Unlock()
	for _, p := range []*pipe{{from: a, to: b}, {from: b, to: a}} {
		p.cut, p.delay, p.more = cut, r.delay, make(chan struct{}, 1)
		go p.read()
		go p.write()
	}
}

// pipe is one direction of a connection. It holds all that came and is not due yet.
type pipe struct {
	from, to net.Conn
	cut      *atomic.Bool
	delay    time.Duration
	more     chan struct{}
	mu       sync.Mutex
	held     []parcel
}

type parcel struct {
	due  time.Time
	data []byte // nil: the end
}

func (p *pipe) read() {
	buf := make([]byte, chunk)
	for {
		n, err := p.from.Read(buf)
		if p.cut.Load() {
			return // and leave both ends as they are
		}
		due := time.Now().Add(p.delay)
		p.mu.Lock()
		if n > 0 {
			p.held = append(p.held, parcel{due, append([]byte(nil), buf[:n]...)})
		}
		if err != nil {
			p.held = append(p.held, parcel{due: due})
		}
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (p *pipe) write() {
	for range p.more {
		for {
			p.mu.Lock()
			batch := p.held
			p.held = nil
			p.mu.Unlock()
			if len(batch) == 0 {
				break
			}
			for _, x := range batch {
				time.Sleep(time.Until(x.due))
				if p.cut.Load() {
					return
				}
				if x.data == nil {
					// The peer has ended, or failed: either way this half is over.
					_ = p.to.(*net.TCPConn).CloseWrite()
					return
				}
				if _, err := p.to.Write(x.data); err != nil {
					_ = p.from.Close()
					return
				}
			}
		}
	}
}
