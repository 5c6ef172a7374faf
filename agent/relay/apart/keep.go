package apart

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/weft-net/weft/proto/note"
	"golang.org/x/sync/errgroup"
)

// hangs is why one was killed.
const hangs = "it did not answer, and was killed"

// Times of the connection to the process.
const (
	beatEvery  = time.Second
	hungAfter  = 5                // beats without a word of it
	helloIn    = 3 * time.Second  // of a process that listens
	startIn    = 15 * time.Second // of one that is started
	againIn    = time.Second      // after a process was not started, or ended that soon
	quietFor   = 10 * time.Second // in which one of another release has carried nothing
	graceOfNew = 3 * time.Second  // in which a new process may have no connections yet
)

var (
	errHung    = errors.New("apart: the relay process does not answer")
	errEnded   = errors.New("apart: the relay process ended")
	errReplace = errors.New("apart: the relay process is of another release, and carries nothing now")
)

// Run speaks with the process until ctx ends, and has it started where it does not run.
// The process goes on after that.
func (c *Client) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for {
			c.look()
			select {
			case <-ctx.Done():
				return nil
			case <-c.changed:
			}
		}
	})
	g.Go(func() error {
		for ctx.Err() == nil {
			c.once(ctx)
		}
		return nil
	})
	g.Go(func() error { return c.deliver(ctx) })
	return g.Wait()
}

// deliver tells who has this Client what came. It is none of those who speak with the
// process, for whom Endpoint waits: what is called here may wait for who called that.
func (c *Client) deliver(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.notes:
			c.cfg.OnChange()
		case <-c.moves:
			c.cfg.OnPort()
		case p := <-c.in.probes:
			c.cfg.Probe(p.via, p.peer, p.slot, p.data)
		}
	}
}

// Retire ends the process: no pair needs it any more.
func (c *Client) Retire(ctx context.Context) error {
	if _, err := os.Lstat(Socket(c.cfg.RunDir)); err != nil {
		return nil
	}
	return c.cfg.Starter.Stop(ctx)
}

// once speaks with one process until it ends.
func (c *Client) once(ctx context.Context) {
	l, err := c.reach(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.cfg.Log.Warn("relay process not reached", note.Err, err, note.Retry, againIn)
			c.tell(err)
			if c.serve(nil, false) {
				signal(c.notes)
			}
			pause(ctx, againIn)
		}
		return
	}
	c.link(l.hello)
	began := time.Now()
	err = c.session(ctx, l)
	l.conn.Close()
	c.unlink()
	switch {
	case ctx.Err() != nil:
		return
	case errors.Is(err, errReplace):
		c.cfg.Log.Info("relay process replaced", note.Was, l.hello.Release, note.Release, c.cfg.Release)
		c.end(ctx)
		return
	}
	c.cfg.Log.Warn("relay process ended", note.PID, l.hello.PID, note.Err, err)
	if errors.Is(err, errHung) {
		c.kill(ctx)
	}
	if time.Since(began) < againIn { // one that ends again and again must not keep the machine busy
		c.tell(err)
		pause(ctx, againIn)
	}
}

// kill ends a process that hangs.
func (c *Client) kill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	if err := c.cfg.Starter.Kill(ctx, hangs); err != nil {
		c.cfg.Log.Warn("relay process not ended", note.Err, err)
	}
}

// end stops the process that there is.
func (c *Client) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	if err := c.cfg.Starter.Stop(ctx); err != nil {
		c.cfg.Log.Warn("relay process not ended", note.Err, err)
	}
}

// line is a connection to a process that has said hello.
type line struct {
	conn  net.Conn
	in    *bufio.Reader
	hello hello
}

// reach connects to the process, and has one started if there is none, or if it cannot be
// spoken with.
func (c *Client) reach(ctx context.Context) (*line, error) {
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	l, err := c.dial(ctx)
	if err == nil && c.fits(l.hello) == nil {
		return l, nil
	}
	if err == nil {
		c.cfg.Log.Info("relay process replaced", note.Why, c.fits(l.hello))
		l.conn.Close()
		c.end(ctx)
	}
	if errors.Is(err, errHung) {
		c.cfg.Log.Warn("relay process ended", note.Err, err)
		c.kill(ctx)
	}
	if err := c.cfg.Starter.Start(ctx); err != nil {
		return nil, err
	}
	if l, err = c.dial(ctx); err != nil {
		return nil, err
	}
	if err := c.fits(l.hello); err != nil {
		l.conn.Close()
		return nil, err
	}
	return l, nil
}

// fits tells why a process cannot be used.
func (c *Client) fits(h hello) error {
	switch {
	case h.Protocol != Protocol:
		return fmt.Errorf("apart: process %d speaks protocol %d, this agent %d", h.PID, h.Protocol, Protocol)
	case h.Of != identity{} && h.Of != c.identity():
		return fmt.Errorf("apart: process %d serves node %s (%s)", h.PID, h.Of.Node, h.Of.DataDir)
	}
	return nil
}

// dial connects to a process, and hears who it is.
func (c *Client) dial(ctx context.Context) (*line, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", Socket(c.cfg.RunDir))
	if err != nil {
		return nil, fmt.Errorf("apart: %w; it listens in the agent's run folder: give --run-dir in /etc/weft/agent.yaml", err)
	}
	l := &line{conn: conn, in: bufio.NewReader(conn)}
	if err = conn.SetReadDeadline(time.Now().Add(helloIn)); err == nil {
		var m message
		if m, err = l.message(nil); err == nil && m.Hello == nil {
			err = errors.New("apart: the relay process says no hello")
		}
		if err == nil {
			l.hello = *m.Hello
			return l, nil
		}
	}
	conn.Close()
	return nil, fmt.Errorf("%w: %w", errHung, err)
}

// message reads frames until one is a message.
func (l *line) message(buf []byte) (message, error) {
	for {
		kind, payload, next, err := readFrame(l.in, buf)
		if err != nil {
			return message{}, err
		}
		if buf = next; kind == kindMessage {
			return parseMessage(payload)
		}
	}
}

// link notes that a process is spoken with.
func (c *Client) link(h hello) {
	c.mu.Lock()
	c.linked = true
	c.mu.Unlock()
	c.cfg.Log.Info("relay process reached", note.PID, h.PID, note.Release, h.Release)
	if err := c.cfg.Starter.Follow(); err != nil {
		c.cfg.Log.Warn("relay process not followed", note.Err, err)
	}
}

// unlink notes that it is not any more. Which servers there were stands for a moment: the
// next process connects to the same.
func (c *Client) unlink() {
	c.mu.Lock()
	c.linked = false
	c.mu.Unlock()
}

// tell says why there is no process, if that is news.
func (c *Client) tell(lack error) {
	c.mu.Lock()
	was := c.lack
	c.lack = lack
	c.mu.Unlock()
	if (was == nil) != (lack == nil) || was != nil && was.Error() != lack.Error() {
		c.cfg.Told(lack)
	}
}

// pause waits for d, or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
