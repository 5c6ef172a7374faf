package konnectivity

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/weft-net/weft/server/egress"
	proxy "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// maxData bounds the bytes of a packet of ours.
const maxData = 64 << 10

// conn is one connection of a stream.
type conn struct {
	stream *stream
	id     int64
	target egress.Conn
	in     *queue      // from the client
	late   *time.Timer // stream.mu; since the client wants it closed
}

// run moves bytes until the target has ended, the client has, or the stream does.
func (c *conn) run() {
	stop := context.AfterFunc(c.stream.ctx, func() {
		egress.Abort(c.target, "the client is gone")
		c.end("")
	})
	defer stop()
	c.stream.working.Go(c.up)
	why := ""
	if _, err := io.Copy(sender{c}, c.target); err != nil {
		why = oneLine(err.Error())
	}
	c.end(why)
}

// up moves what the client sends, until the client ends the connection.
func (c *conn) up() {
	var b []byte
	for {
		var more bool
		if b, more = c.in.take(c.stream.ctx, b); !more {
			_ = c.target.CloseWrite() // what was sent arrives
			c.end("")
			return
		}
		if _, err := c.target.Write(b); err != nil {
			c.in.close() // what the target has said is still on its way, and its end
			return
		}
	}
}

// end ends the connection once, and tells the client.
func (c *conn) end(why string) {
	if !c.stream.drop(c) {
		return
	}
	c.in.close()
	_ = c.target.Close()
	if c.stream.ctx.Err() == nil {
		_ = c.stream.closed(c.id, why)
	}
}

// sender sends what it is given as DATA.
type sender struct{ c *conn }

// Write implements io.Writer. A packet is encoded when Send returns, so that b is
// the caller's again.
func (s sender) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		piece := b[:min(len(b), maxData)]
		err := s.c.stream.send(&proxy.Packet{Type: proxy.PacketType_DATA, Payload: &proxy.Packet_Data{Data: &proxy.Data{ConnectID: s.c.id, Data: piece}}})
		if err != nil {
			return n, err
		}
		n, b = n+len(piece), b[len(piece):]
	}
	return n, nil
}

func quoted(s string) string { return strconv.Quote(s[:min(len(s), 20)]) }

func oneLine(s string) string {
	for i, r := range s {
		if r < ' ' {
			return s[:i]
		}
	}
	return s
}
