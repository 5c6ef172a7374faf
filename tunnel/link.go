package tunnel

import (
	"fmt"
	"net"
	"time"

	"github.com/gorilla/websocket"
)

// batchSize is how many bytes one websocket message carries at most: gorilla's
// write buffer, and so one websocket frame and few system calls.
const batchSize = 192 << 10

// link is the websocket with what is beneath it.
type link struct {
	ws       *websocket.Conn
	cork     *Cork // nil: TLS without one beneath it
	patience time.Duration
}

// silence replaces gorilla's handlers, which write from the loop that reads.
func (l *link) silence() {
	l.ws.SetReadLimit(maxMessage)
	l.ws.SetPingHandler(func(string) error { return nil })
	l.ws.SetPongHandler(func(string) error { return nil })
	l.ws.SetCloseHandler(func(int, string) error { return nil })
	if l.cork != nil {
		l.cork.put()
	}
}

// tries says whether a write can be tried without waiting.
func (l *link) tries() bool { return l.cork != nil && l.cork.raw != nil }

// send writes a message of frames. With a cork it does not wait: flush does.
func (l *link) send(b *batch) error {
	if l.cork == nil {
		_ = l.ws.SetWriteDeadline(time.Now().Add(3 * l.patience)) // for all of the message: it tells no progress
	}
	w, err := l.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	if len(b.control) > 0 {
		if _, err := w.Write(b.control); err != nil {
			return err
		}
	}
	for i := range b.items {
		if _, err := w.Write(b.items[i].head[:]); err != nil {
			return err
		}
		if _, err := w.Write(b.items[i].body); err != nil {
			return err
		}
	}
	return w.Close()
}

// flush returns false if all could only be written by waiting, and wait is false.
func (l *link) flush(wait bool) (bool, error) {
	if l.cork == nil {
		return true, nil
	}
	patience := l.patience
	if !wait {
		patience = 0
	}
	done, err := l.cork.flush(patience)
	if err != nil {
		return false, fmt.Errorf("tunnel: write: %w", err)
	}
	return done, nil
}

// kill closes the connection without a word and without waiting.
func (l *link) kill() {
	if l.cork != nil {
		l.cork.kill()
	} else {
		innermost(l.ws.NetConn()).Close()
	}
	l.ws.Close()
}

func innermost(conn net.Conn) net.Conn {
	for {
		outer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = outer.NetConn()
	}
}
