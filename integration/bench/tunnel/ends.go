package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// contender is one way to reach what is behind an agent.
type contender struct {
	name  string
	serve func(context.Context, spec) (end, error) // starts the server's end
	agent func(context.Context, spec, int) error   // is one tunnel of the agent, until it ends
	front bool                                     // it brings its own front
	wide  int                                      // sessions that share the streams, where a row asks for no number; 0: one
}

// end is a contender in the server.
type end interface {
	dial(ctx context.Context, target string) (net.Conn, error)
	sessions() int
}

var contenders = []contender{
	{name: "tls", serve: serveTLS, agent: agentTLS},
	{name: "yamux", serve: serveYamux, agent: agentYamux},
	{name: "remotedialer", serve: serveRemotedialer, agent: agentRemotedialer},
	{name: "konnectivity", serve: serveKonnectivity, agent: agentKonnectivity, front: true},
	{name: "weft", serve: serveWeft, agent: agentWeft},
	{name: "weft2", serve: serveWeft, agent: agentWeft, wide: 2},
}

func contenderOf(name string) (contender, error) {
	for _, c := range contenders {
		if c.name == name {
			return c, nil
		}
	}
	return contender{}, fmt.Errorf("no contender %q", name)
}

// server is the process before the tunnel.
type server struct {
	end  end
	held []net.Conn
}

func newServer(ctx context.Context, s spec) (player, error) {
	c, err := contenderOf(s.Contender)
	if err != nil {
		return nil, err
	}
	e, err := c.serve(ctx, s)
	if err != nil || c.front {
		return &server{end: e}, err
	}
	return &server{end: e}, serveFront(s.Front, e.dial)
}

func (s *server) do(ctx context.Context, o order) (answer, error) {
	switch o.Do {
	case "look":
		return answer{Look: look{Sessions: s.end.sessions()}}, nil
	case "open":
		return s.open(ctx, o)
	}
	return answer{}, fmt.Errorf("server: no order %q", o.Do)
}

// open opens streams that nobody before the server asked for, and lets them be: what
// they cost is the tunnel's own.
func (s *server) open(ctx context.Context, o order) (a answer, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	turn := make(chan struct{}, 64)
	for range o.N {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			c, err := s.end.dial(ctx, o.Target)
			if err == nil {
				err = greet(c) // what a stream allocates with its first bytes counts
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.Bad, a.Why = a.Bad+1, err.Error()
				return
			}
			s.held = append(s.held, c)
		})
	}
	wg.Wait()
	return a, nil
}

// agent is the process behind the tunnel: it keeps each of its tunnels.
type agent struct{}

func newAgent(ctx context.Context, s spec) (player, error) {
	c, err := contenderOf(s.Contender)
	if err != nil {
		return nil, err
	}
	for i := range s.Tunnels {
		go func() {
			for ctx.Err() == nil {
				if err := c.agent(ctx, s, i); err != nil {
					log.Printf("tunnel %d: %v", i, err)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
	}
	return agent{}, nil
}

func (agent) do(_ context.Context, o order) (answer, error) {
	if o.Do == "look" {
		return answer{}, nil
	}
	return answer{}, fmt.Errorf("agent: no order %q", o.Do)
}

// forbidden is an address that the agent's rules refuse.
const forbidden = "127.0.0.9"

func allowed(target string) bool {
	host, _, err := net.SplitHostPort(target)
	return err == nil && host != forbidden
}

// reach dials a target, on the agent's side.
func reach(ctx context.Context, target string) (net.Conn, error) {
	if !allowed(target) {
		return nil, fmt.Errorf("%s is forbidden", target)
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	return d.DialContext(ctx, "tcp", target)
}

// serveHTTPS serves HTTP/1.1 with mutual TLS where tunnels are accepted.
func serveHTTPS(s spec, h http.Handler) error {
	t, err := mutual(s.Dir, "server")
	if err != nil {
		return err
	}
	t.NextProtos = []string{"http/1.1"}
	l, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return err
	}
	go http.Serve(tls.NewListener(l, t), h) // until the process ends
	return nil
}

var errNoSession = errors.New("no agent is connected")

// roster is the sessions of a server.
type roster[S comparable] struct {
	mu   sync.Mutex
	all  []S
	turn int
}

func (r *roster[S]) add(s S) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

func (r *roster[S]) remove(s S) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(x S) bool { return x == s })
}

func (r *roster[S]) keep(which func(S) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(x S) bool { return !which(x) })
}

func (r *roster[S]) newest() (s S, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return s, errNoSession
	}
	return r.all[len(r.all)-1], nil
}

// next takes them in turn.
func (r *roster[S]) next() (s S, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return s, errNoSession
	}
	r.turn++
	return r.all[r.turn%len(r.all)], nil
}

func (r *roster[S]) sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}
