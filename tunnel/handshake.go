package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// writeBuffers are gorilla's, 192 KB each, shared by all sessions: one is held only
// while a message is made.
var writeBuffers sync.Pool

// Dial makes the client's websocket handshake on a connection that stands, to
// which TLS and whatever proxy belongs already, and owns conn from then on. url is
// ws:// or wss:// with host and path. The response is there if the other end
// answered at all, also with an error: its status and Retry-After may matter.
func Dial(ctx context.Context, conn net.Conn, url string, h http.Header, c Config) (*Conn, *http.Response, error) {
	conn, cork := corked(conn)
	give := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	dialer := websocket.Dialer{
		NetDialContext: give, NetDialTLSContext: give,
		Subprotocols:    []string{Protocol},
		ReadBufferSize:  4 << 10,
		WriteBufferSize: batchSize, WriteBufferPool: &writeBuffers,
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	ws, resp, err := dialer.DialContext(ctx, url, h)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	switch {
	case err == nil && ws.Subprotocol() == Protocol:
		return newConn(ws, cork, true, c), resp, nil
	case err == nil:
		err = fmt.Errorf("the other end speaks %q, this one %s", ws.Subprotocol(), Protocol)
	case errors.Is(err, websocket.ErrBadHandshake):
		err = fmt.Errorf("the other end answered %s", resp.Status)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	conn.Close()
	return nil, resp, fmt.Errorf("tunnel: handshake with %s: %w", url, err)
}

// Upgrade makes the server's websocket handshake; the headers that w has go along. When
// it fails, it has answered.
func Upgrade(w http.ResponseWriter, r *http.Request, c Config) (*Conn, error) {
	offered := false
	for _, p := range websocket.Subprotocols(r) {
		offered = offered || p == Protocol
	}
	if websocket.IsWebSocketUpgrade(r) && !offered {
		err := fmt.Errorf("tunnel: the other end speaks %q, this one %s", websocket.Subprotocols(r), Protocol)
		http.Error(w, err.Error(), http.StatusUpgradeRequired)
		return nil, err
	}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: 10 * time.Second,
		Subprotocols:     []string{Protocol},
		WriteBufferSize:  batchSize, WriteBufferPool: &writeBuffers,
		CheckOrigin: func(r *http.Request) bool { return r.Header.Get("Origin") == "" }, // no browsers
	}
	hijacked := &hijacker{ResponseWriter: w}
	ws, err := upgrader.Upgrade(hijacked, r, w.Header())
	if err != nil {
		return nil, fmt.Errorf("tunnel: handshake with %s: %w", r.RemoteAddr, err)
	}
	return newConn(ws, hijacked.cork, false, c), nil
}

// hijacker hands gorilla the connection with a cork.
type hijacker struct {
	http.ResponseWriter
	cork *Cork
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn, h.cork = corked(conn)
	return conn, rw, nil
}

// corked returns the cork beneath a connection. A plain connection is given one;
// one of TLS that has none beneath it can have none any more.
func corked(conn net.Conn) (net.Conn, *Cork) {
	for at := conn; ; {
		if cork, ok := at.(*Cork); ok {
			return conn, cork
		}
		outer, ok := at.(interface{ NetConn() net.Conn })
		if !ok && at == conn {
			cork := NewCork(conn)
			return cork, cork
		}
		if !ok {
			return conn, nil
		}
		at = outer.NetConn()
	}
}
