package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

// yamuxEnd is a yamux session a websocket, as it comes: its own flow control of
// 256 KiB a stream, its own keepalive of 30 s.
type yamuxEnd struct{ roster[*yamux.Session] }

func yamuxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	return c
}

func serveYamux(_ context.Context, s spec) (end, error) {
	e := &yamuxEnd{}
	up := websocket.Upgrader{ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10}
	return e, serveHTTPS(s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		y, err := yamux.Client(&messages{Conn: ws}, yamuxConfig())
		if err != nil {
			ws.Close()
			return
		}
		e.add(y)
		defer e.remove(y)
		<-y.CloseChan()
	}))
}

func (e *yamuxEnd) dial(_ context.Context, target string) (net.Conn, error) {
	y, err := e.newest()
	if err != nil {
		return nil, err
	}
	c, err := y.OpenStream()
	if err != nil {
		return nil, err
	}
	if err := request(c, target); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func agentYamux(ctx context.Context, s spec, _ int) error {
	t, err := mutual(s.Dir, "agent")
	if err != nil {
		return err
	}
	t.NextProtos = []string{"http/1.1"}
	d := websocket.Dialer{TLSClientConfig: t, ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10, HandshakeTimeout: 10 * time.Second}
	ws, _, err := d.DialContext(ctx, "wss://"+s.Dial+"/v1/tunnel", nil)
	if err != nil {
		return err
	}
	y, err := yamux.Server(&messages{Conn: ws}, yamuxConfig())
	if err != nil {
		ws.Close()
		return err
	}
	defer y.Close()
	for {
		c, err := y.AcceptStream()
		if err != nil {
			return err
		}
		go serveRequest(ctx, c)
	}
}

// messages is a websocket as a stream of bytes: a message a write.
type messages struct {
	*websocket.Conn
	rest io.Reader
}

func (m *messages) Read(b []byte) (int, error) {
	for {
		if m.rest == nil {
			_, r, err := m.NextReader()
			if err != nil {
				return 0, err
			}
			m.rest = r
		}
		n, err := m.rest.Read(b)
		if err == io.EOF {
			m.rest, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (m *messages) Write(b []byte) (int, error) {
	if err := m.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (m *messages) SetDeadline(t time.Time) error {
	if err := m.SetReadDeadline(t); err != nil {
		return err
	}
	return m.SetWriteDeadline(t)
}
