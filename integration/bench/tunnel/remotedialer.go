package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"
)

// remotedialerEnd is the server of K3s's egress: remotedialer as K3s starts it, one
// session of the agent. Its dial is back before the agent has dialled.
type remotedialerEnd struct {
	server *remotedialer.Server
	live   atomic.Int64
}

func serveRemotedialer(_ context.Context, s spec) (end, error) {
	e := &remotedialerEnd{}
	e.server = remotedialer.New(func(r *http.Request) (string, bool, error) {
		id := r.Header.Get("Weft-Node")
		return id, id != "", nil
	}, remotedialer.DefaultErrorWriter)
	return e, serveHTTPS(s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.live.Add(1)
		defer e.live.Add(-1)
		e.server.ServeHTTP(w, r)
	}))
}

func (e *remotedialerEnd) sessions() int { return int(e.live.Load()) }

func (e *remotedialerEnd) dial(ctx context.Context, target string) (net.Conn, error) {
	return e.server.Dialer("n0")(ctx, "tcp", target)
}

func agentRemotedialer(ctx context.Context, s spec, i int) error {
	t, err := mutual(s.Dir, "agent")
	if err != nil {
		return err
	}
	t.NextProtos = []string{"http/1.1"}
	d := &websocket.Dialer{TLSClientConfig: t, HandshakeTimeout: 10 * time.Second}
	h := http.Header{"Weft-Node": {fmt.Sprint("n", i)}}
	rules := func(_, target string) bool { return allowed(target) }
	return remotedialer.ConnectToProxy(ctx, "wss://"+s.Dial+"/v1/tunnel", h, rules, d, nil)
}
