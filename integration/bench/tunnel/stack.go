package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// stack is one contender, standing.
type stack struct {
	contender contender
	dir       string
	spec      spec
	target    *process
	server    *process
	agent     *process
	relay     *process // nil without one
	client    *process
}

// shape is how a stack differs from the plain one.
type shape struct {
	relayed bool
	delay   time.Duration // one way; implies relayed
	tunnels int           // sessions of the agent, instead of one
	lone    bool          // the agent is started by the row
}

func raise(ctx context.Context, self string, c contender, sh shape) (_ *stack, err error) {
	dir, err := os.MkdirTemp("", "weft-tunnel-")
	if err != nil {
		return nil, err
	}
	s := &stack{contender: c, dir: dir}
	defer func() {
		if err != nil {
			s.end()
		}
	}()
	if err := identities(dir); err != nil {
		return nil, err
	}
	if s.spec, err = plan(c, dir, sh); err != nil {
		return nil, err
	}
	if s.target, err = start(self, dir, "target", s.spec); err != nil {
		return nil, err
	}
	if s.spec.Dial != s.spec.Listen {
		if s.relay, err = start(self, dir, "relay", s.spec); err != nil {
			return nil, err
		}
	}
	if s.server, err = start(self, dir, "server", s.spec); err != nil {
		return nil, err
	}
	if s.client, err = start(self, dir, "client", s.spec); err != nil || sh.lone {
		return s, err
	}
	return s, s.join(ctx, self)
}

// join starts the agent and waits until a stream through it works.
func (s *stack) join(ctx context.Context, self string) (err error) {
	if s.agent, err = start(self, s.dir, "agent", s.spec); err != nil {
		return err
	}
	return s.works(ctx, 20*time.Second)
}

// works waits until a dial and its echo succeed.
func (s *stack) works(ctx context.Context, limit time.Duration) error {
	var last error
	for end := time.Now().Add(limit); time.Now().Before(end); {
		a, err := s.dial(ctx, 1, time.Second)
		if err != nil {
			return err
		}
		if a.Bad == 0 {
			return nil
		}
		last = errors.New(a.Why)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("no stream works after %v: %w", limit, last)
}

func (s *stack) dial(ctx context.Context, n int, each time.Duration) (answer, error) {
	return s.client.ask(ctx, order{Do: "dial", N: n, Each: each, Target: s.spec.Target, For: time.Duration(n) * each})
}

func plan(c contender, dir string, sh shape) (spec, error) {
	p, err := freePorts(7)
	if err != nil {
		return spec{}, err
	}
	local := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	s := spec{
		Contender: c.name, Dir: dir, Front: filepath.Join(dir, "front.sock"),
		Target: local(p[0]), Listen: local(p[1]), Dial: local(p[1]), Ports: p[3:], Tunnels: max(1, c.wide), Delay: sh.delay,
	}
	if sh.tunnels > 0 {
		s.Tunnels = sh.tunnels
	}
	if sh.relayed || sh.delay > 0 {
		s.Dial = local(p[2])
	}
	return s, nil
}

// freePorts are ports of 127.0.0.1 that nobody held a moment ago.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func (s *stack) end() {
	for _, p := range []*process{s.client, s.agent, s.server, s.relay, s.target} {
		if p != nil {
			p.end()
		}
	}
	_ = os.RemoveAll(s.dir)
}

// pair looks at server and agent: whose costs are counted.
func (s *stack) pair(ctx context.Context, collect bool) (server, agent look, err error) {
	if server, err = s.server.look(ctx, collect); err != nil {
		return
	}
	agent, err = s.agent.look(ctx, collect)
	return
}
