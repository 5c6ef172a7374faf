package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/server/egress"
)

// firstRead is how much of a client is read while its target is dialled, in bytes.
const firstRead = 2 << 10

// passage is a client's connection from the end of its head on, and later the
// target's. Two goroutines serve it: one reads the client, the caller's the target.
type passage struct {
	client net.Conn
	look   time.Duration // how often a client that ended first is looked at

	answered chan net.Conn // room for one: the target, once the client was told; closed: refused
	deaf     atomic.Bool   // the target takes no more
	down     chan struct{} // closed when the target has ended
	upwards  sync.WaitGroup
}

// newPassage begins to read the client, or takes what is read of it already. A
// client that goes before it is answered has hangUp called. One that only ends its
// own direction has not gone.
func newPassage(client net.Conn, early []byte, look time.Duration, hangUp func()) *passage {
	p := &passage{client: client, look: look, answered: make(chan net.Conn, 1), down: make(chan struct{})}
	p.upwards.Go(func() {
		var err error
		if len(early) == 0 {
			early, err = p.first()
			if err != nil && !errors.Is(err, io.EOF) {
				hangUp()
			}
		}
		if target, ok := <-p.answered; ok {
			p.up(target, early, err)
		}
	})
	return p
}

// first waits for what the client says first.
func (p *passage) first() ([]byte, error) {
	b := make([]byte, firstRead)
	n, err := p.client.Read(b)
	return b[:n], err
}

// end closes the client's connection, and waits for what reads it.
func (p *passage) end() {
	_ = p.client.Close()
	close(p.answered)
	p.upwards.Wait()
}

// run tells the client that its target is there, and moves bytes until both have
// ended, one failed, or ctx ends.
func (p *passage) run(ctx context.Context, target net.Conn) error {
	defer target.Close()
	stop := context.AfterFunc(ctx, func() { p.cut(target, "it was ended: "+context.Cause(ctx).Error()) })
	defer stop()
	if _, err := io.WriteString(p.client, established); err != nil {
		return errHungUp
	}
	p.answered <- target
	// Whichever of the two has a way of its own to move bytes, it is taken: a
	// tunnel's stream hands out what it holds, and takes what it has room for.
	if _, err := io.Copy(p.client, target); err != nil {
		p.cut(target, "a direction failed: "+err.Error())
	} else if !closeWrite(p.client) {
		p.cut(target, "the client is gone")
	}
	close(p.down)
	if p.deaf.Load() {
		p.hurry()
	}
	p.upwards.Wait()
	return nil
}

// up moves what the client sends.
func (p *passage) up(target net.Conn, early []byte, err error) {
	if len(early) > 0 {
		if _, werr := target.Write(early); werr != nil {
			p.discard()
			return
		}
	}
	from := &reader{Reader: p.client}
	if err == nil {
		_, err = io.Copy(target, from)
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	switch {
	case err == nil:
		_ = closeWrite(target) // fails where it is gone already, which the other direction says
		p.watch(target)
	case from.err != nil:
		p.cut(target, "the client is gone")
	default:
		p.discard()
	}
}

// reader notes an error of reading, to tell it from one of writing.
type reader struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// discard reads on when the target takes no more. What it has said is still on its
// way, and would be lost if the client were closed with bytes unread.
func (p *passage) discard() {
	p.deaf.Store(true)
	select {
	case <-p.down:
		p.hurry()
	default:
	}
	_, _ = io.Copy(io.Discard, p.client)
}

// hurry bounds what is still read of a client whose target has ended.
func (p *passage) hurry() { _ = p.client.SetReadDeadline(time.Now().Add(lingerTime)) }

// cut ends both directions at once. Both ends are to see that it was no good end.
func (p *passage) cut(target net.Conn, why string) {
	egress.Abort(p.client, why)
	egress.Abort(target, why)
}

// closeWrite ends one direction. It answers false if that cannot be done.
func closeWrite(c net.Conn) bool {
	half, ok := c.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

// under is the connection that others rest on.
func under(c net.Conn) net.Conn {
	for {
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = outer.NetConn()
	}
}
