package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// listener opens a TCP port in the host's namespace. A socket stays in the
// namespace in which it was made: what is accepted from it is there too.
func (h *Host) listener(addr netip.AddrPort) (net.Listener, error) {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		var l net.Listener
		err := within(h.Path(), func() error {
			var err error
			l, err = net.Listen("tcp", addr.String())
			return err
		})
		switch {
		case err == nil:
			return l, nil
		case !errors.Is(err, syscall.EADDRINUSE) || time.Since(began) > forked:
			return nil, fmt.Errorf("lab: on %s: %w", h.Name, err)
		}
	}
}

// forked is for how long a port that was closed may still be in use: a process that
// is being started holds what this one had open until it execs.
const forked = 5 * time.Second

// dial connects from the host's namespace to an address and a port; a name would
// be looked up elsewhere.
func (h *Host) dial(ctx context.Context, to string) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, fmt.Errorf("lab: on %s: %w", h.Name, err)
	}
	var conn net.Conn
	err = within(h.Path(), func() error {
		var d net.Dialer
		var err error
		conn, err = d.DialContext(ctx, "tcp", addr.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: on %s: %w", h.Name, err)
	}
	return conn, nil
}

// acceptor serves each connection of a listener until Close, which ends them all
// and waits for them.
type acceptor struct {
	listener net.Listener
	serve    func(net.Conn)

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once it is closed
	all   sync.WaitGroup
}

func accept(l net.Listener, serve func(net.Conn)) *acceptor {
	a := &acceptor{listener: l, serve: serve, conns: map[net.Conn]struct{}{}}
	a.all.Add(1)
	go a.run()
	return a
}

func (a *acceptor) run() {
	defer a.all.Done()
	for {
		c, err := a.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files
			time.Sleep(10 * time.Millisecond)
		case a.begin(c):
			go a.one(c)
		default:
			_ = c.Close()
		}
	}
}

// begin keeps a connection, unless there are no more to be.
func (a *acceptor) begin(c net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns == nil {
		return false
	}
	a.conns[c] = struct{}{}
	a.all.Add(1)
	return true
}

func (a *acceptor) one(c net.Conn) {
	defer a.all.Done()
	a.serve(c)
	_ = c.Close()
	a.mu.Lock()
	delete(a.conns, c)
	a.mu.Unlock()
}

// Close ends the listener and every connection.
func (a *acceptor) Close() {
	_ = a.listener.Close()
	a.mu.Lock()
	for c := range a.conns {
		_ = c.Close()
	}
	a.conns = nil
	a.mu.Unlock()
	a.all.Wait()
}
