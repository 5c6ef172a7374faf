package apart

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/relay"
	"github.com/weft-net/weft/proto/note"
)

// sayWithin bounds a write to the other end.
const sayWithin = 5 * time.Second

// attendance is a connection of an agent, as the process sees it.
type attendance struct {
	p    *process
	conn net.Conn
	out  *queue
	tell chan struct{} // room for one: there is something to say

	named map[string]bool // peers since the hello, until it was whole; the reader's own

	mu    sync.Mutex // guards all below
	ports []port     // to be said
	asked bool       // for a message
}

func newAttendance(p *process, c net.Conn) *attendance {
	return &attendance{p: p, conn: c, out: newQueue(), tell: make(chan struct{}, 1), named: map[string]bool{}}
}

func (a *attendance) close() { _ = a.conn.Close() }

// run attends until the agent goes, or the process ends.
func (a *attendance) run() {
	ends := context.AfterFunc(a.p.life, a.close)
	defer ends()
	stop := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() { a.say(stop) })
	err := a.hear()
	close(stop)
	a.close()
	saying.Wait()
	a.p.left(a)
	if a.p.life.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		a.p.cfg.Log.Warn("agent not heard", note.Err, err)
	}
}

// hear does what the agent says.
func (a *attendance) hear() error {
	in := bufio.NewReader(a.conn)
	var buf []byte
	for {
		kind, payload, next, err := readFrame(in, buf)
		if err != nil {
			return err
		}
		buf = next
		switch kind {
		case kindProbe:
			p, err := parseProbe(payload)
			if err != nil {
				return err
			}
			a.forward(p)
		case kindMessage:
			m, err := parseMessage(payload)
			if err == nil {
				err = a.obey(m)
			}
			if err != nil {
				return err
			}
		}
	}
}

// forward sends a probe of the agent's. One for which there is no relay is lost, as one
// that a relay loses.
func (a *attendance) forward(p probe) {
	a.p.mu.Lock()
	carrier := a.p.relay
	a.p.mu.Unlock()
	if carrier != nil {
		_ = carrier.SendProbe(p.via, p.peer, p.slot, p.data)
	}
}

// obey does what a message says.
func (a *attendance) obey(m message) error {
	was := a.p.told.Load()
	if m.Node != nil && was.node.Node != "" && was.node.identity != m.Node.identity {
		return fmt.Errorf("apart: this process serves node %s (%s), not %s (%s)", was.node.Node, was.node.DataDir, m.Node.Node, m.Node.DataDir)
	}
	if was.node.Node == "" && m.Node == nil {
		if len(m.Peers) > 0 || m.Events != nil {
			return errors.New("apart: nobody said yet which node this is")
		}
	} else if err := a.apply(was, m); err != nil {
		return err
	}
	if m.Hello != nil || m.Beat {
		a.mu.Lock()
		a.asked = true
		a.mu.Unlock()
		signal(a.tell)
	}
	return nil
}

// apply has what carries do what differs.
func (a *attendance) apply(was *told, m message) error {
	now := was.with(m)
	for _, p := range m.Peers {
		a.named[p.Name] = true
	}
	if m.Whole {
		now = now.only(a.named)
		clear(a.named)
	}
	a.p.told.Store(now)
	carrier, lines, err := a.p.begin()
	if err != nil {
		a.p.fail(err)
		return err
	}
	for _, p := range m.Peers {
		a.grant(carrier, p)
	}
	if m.Whole || len(m.Gone) > 0 {
		carrier.Keep(func(name string) bool { _, ok := now.peers[name]; return ok })
	}
	carrier.Changed()
	if m.Node != nil && (!slices.Equal(was.node.Servers, m.Node.Servers) || was.node.Apart != m.Node.Apart) {
		lines.Set(m.Node.Servers, m.Node.Apart)
	}
	if m.Hello != nil || m.Events != nil && m.Events.Renewed {
		lines.Renewed()
	}
	if m.Events != nil && m.Events.Moved {
		lines.Moved(hasAddress())
	}
	if m.Events != nil {
		for _, server := range m.Events.Alive {
			lines.Alive(server)
		}
	}
	return nil
}

// grant does what is asked of a peer's ports.
func (a *attendance) grant(carrier *relay.Relay, p peer) {
	for i, ask := range p.Asks {
		slot := uint8(i)
		var errs []error
		if ask.As != nil {
			errs = append(errs, carrier.As(p.Name, slot, *ask.As))
		}
		if ask.Via != nil {
			errs = append(errs, carrier.Use(p.Name, slot, *ask.Via))
		}
		if ask.Port {
			at, err := carrier.Endpoint(p.Name, slot)
			if errs = append(errs, err); err == nil {
				a.mu.Lock()
				a.ports = append(a.ports, port{p.Name, slot, at})
				a.mu.Unlock()
				signal(a.tell)
			}
		}
		if err := errors.Join(errs...); err != nil {
			a.p.cfg.Log.Warn("relay not used", note.Node, p.Name, note.Err, err)
		}
	}
}

// hasAddress tells which addresses the host has now.
func hasAddress() func(netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return func(netip.Addr) bool { return true } // nobody knows
	}
	has := map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			has[p.Addr().Unmap()] = true
		}
	}
	return func(a netip.Addr) bool { return has[a.WithZone("")] }
}

// say says hello, and then what is to be said, until stop.
func (a *attendance) say(stop <-chan struct{}) {
	t := a.p.told.Load()
	first := message{Hello: &hello{Protocol: Protocol, Release: a.p.cfg.Release, PID: os.Getpid(), Of: t.node.identity}}
	err := a.write(first)
	for err == nil {
		select {
		case <-stop:
			return
		case b := <-a.out.probes:
			err = a.push(appendProbe(nil, b))
		case <-a.tell:
			err = a.write(a.news())
		}
	}
	a.close()
}

// news is what is to be said now.
func (a *attendance) news() message {
	a.p.mu.Lock()
	carrier := a.p.relay
	a.p.mu.Unlock()
	a.mu.Lock()
	m := message{Ports: a.ports}
	asked := a.asked
	a.ports, a.asked = nil, false
	a.mu.Unlock()
	if carrier == nil {
		return m
	}
	servers := carrier.Servers()
	m.Servers = &servers
	if asked {
		stats := carrier.Stats()
		m.Stats = &stats
	}
	return m
}

// write says a message, in parts if its ports are many.
func (a *attendance) write(m message) error {
	for len(m.Ports) > portsAtOnce {
		b, err := appendMessage(nil, message{Ports: m.Ports[:portsAtOnce]})
		if err == nil {
			err = a.push(b)
		}
		if err != nil {
			return err
		}
		m.Ports = m.Ports[portsAtOnce:]
	}
	b, err := appendMessage(nil, m)
	if err != nil {
		return err
	}
	return a.push(b)
}

// portsAtOnce is how many a message has at most: with names of any length they fit.
const portsAtOnce = 1000

func (a *attendance) push(b []byte) error {
	if err := a.conn.SetWriteDeadline(time.Now().Add(sayWithin)); err != nil {
		return err
	}
	_, err := a.conn.Write(b)
	return err
}
