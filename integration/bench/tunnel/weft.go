package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/weft-net/weft/tunnel"
)

// weftEnd is weft's room tunnel: a session a websocket, a cork beneath TLS. Of several
// sessions each takes streams in its turn.
type weftEnd struct{ roster[*tunnel.Conn] }

func serveWeft(_ context.Context, s spec) (end, error) {
	e := &weftEnd{}
	c := tunnel.Config{Budget: tunnel.NewBudget(0)}
	t, err := mutual(s.Dir, "server")
	if err != nil {
		return nil, err
	}
	t.NextProtos, t.DynamicRecordSizingDisabled = []string{"http/1.1"}, true
	l, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return nil, err
	}
	go http.Serve(tls.NewListener(corked{l}, t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := tunnel.Upgrade(w, r, c)
		if err != nil {
			return // Upgrade has answered
		}
		e.add(session)
	}))
	return e, nil
}

type corked struct{ net.Listener }

func (l corked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tunnel.NewCork(c), nil
}

// sessions forgets those that have ended, so that no goroutine of the bench waits for
// each.
func (e *weftEnd) sessions() int {
	e.keep(func(c *tunnel.Conn) bool { return c.Err() == nil })
	return e.roster.sessions()
}

func (e *weftEnd) dial(ctx context.Context, target string) (net.Conn, error) {
	e.sessions()
	c, err := e.next()
	if err != nil {
		return nil, err
	}
	return c.Open(ctx, []byte(target))
}

func agentWeft(ctx context.Context, s spec, _ int) error {
	t, err := mutual(s.Dir, "agent")
	if err != nil {
		return err
	}
	t.NextProtos, t.DynamicRecordSizingDisabled = []string{"http/1.1"}, true
	begin, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(begin, "tcp", s.Dial)
	if err != nil {
		return err
	}
	conn := tls.Client(tunnel.NewCork(raw), t)
	if err := conn.HandshakeContext(begin); err != nil {
		raw.Close()
		return err
	}
	c, _, err := tunnel.Dial(begin, conn, "wss://"+s.Dial+"/v1/tunnel", nil, tunnel.Config{})
	if err != nil {
		conn.Close()
		return err
	}
	defer c.Close()
	for {
		r, err := c.Accept(ctx)
		if err != nil {
			return err
		}
		go serveWeftRequest(r)
	}
}

func serveWeftRequest(r *tunnel.Request) {
	target := string(r.Target())
	there, err := reach(r.Context(), target)
	if err != nil {
		code := tunnel.Unreachable
		if !allowed(target) {
			code = tunnel.Forbidden
		}
		_ = r.Refuse(code, err.Error()) // fails if nobody waits any more
		return
	}
	here, err := r.Accept()
	if err != nil {
		there.Close()
		return
	}
	splice(here, there)
}
