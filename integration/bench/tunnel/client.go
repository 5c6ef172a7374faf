package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// client is who uses the front.
type client struct {
	front string
	bytes atomic.Int64 // received by bulk streams
	mu    sync.Mutex
	held  []net.Conn
	live  int // of held
	ended time.Time
}

func (c *client) do(ctx context.Context, o order) (answer, error) {
	switch o.Do {
	case "look":
		return c.look(), nil
	case "dial":
		return c.dials(o)
	case "echo":
		return c.echo(ctx, o)
	case "bulk":
		return c.bulk(o)
	case "hold":
		return c.hold(o)
	case "check":
		return c.check(o)
	case "watch":
		return c.watch()
	case "release":
		return c.release()
	}
	return answer{}, fmt.Errorf("client: no order %q", o.Do)
}

func (c *client) look() (a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.Look.Bytes, a.Look.Open = c.bytes.Load(), c.live
	if c.live == 0 && !c.ended.IsZero() {
		a.Look.Ended = c.ended.UnixNano()
	}
	return a
}

// connect asks the front for a stream to target. Until it is there, limit bounds all.
func (c *client) connect(target string, limit time.Duration) (net.Conn, error) {
	conn, err := net.DialTimeout("unix", c.front, limit)
	if err != nil {
		return nil, err
	}
	if err := connectOver(conn, target, limit); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func connectOver(conn net.Conn, target string, limit time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target); err != nil {
		return err
	}
	r := bufio.NewReaderSize(conn, 512)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // what is there of it
		return fmt.Errorf("%s: %s", resp.Status, why)
	}
	if r.Buffered() > 0 {
		return errors.New("the target spoke first")
	}
	return conn.SetDeadline(time.Time{})
}

const message = 64 // bytes of an echo

// ping sends one message and waits until it is back.
func ping(c net.Conn, b []byte, limit time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b)
	return err
}

// first sends the mode with the first message, in one write, and waits until the
// message is back.
func first(c net.Conn, limit time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return greet(c)
}

// greet is first without a deadline, which may cost a stream something.
func greet(c net.Conn) error {
	if _, err := c.Write(append([]byte{modeEcho}, make([]byte, message)...)); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, message))
	return err
}

// dials dials, echoes once and closes, one after another.
func (c *client) dials(o order) (a answer, err error) {
	for range o.N {
		began := time.Now()
		conn, err := c.connect(o.Target, o.Each)
		if err != nil {
			a.Bad, a.Why = a.Bad+1, why(err)
			continue
		}
		t := times{Open: time.Since(began).Seconds()}
		if err := first(conn, o.Each); err != nil {
			a.Bad, a.Why = a.Bad+1, why(err)
		} else {
			t.Echo = time.Since(began).Seconds()
			a.Times = append(a.Times, t)
		}
		conn.Close()
	}
	return a, nil
}

// echo sends a message every so often on one stream, for a time, whether or not the
// ones before are back: a stall counts for each message that was due in it. Times
// are from when a message was due. If streams are asked for, they are opened meanwhile,
// and kept: mode down, of which nothing is read.
func (c *client) echo(ctx context.Context, o order) (a answer, err error) {
	connect := c.connect
	if o.Past {
		connect = func(target string, limit time.Duration) (net.Conn, error) {
			return net.DialTimeout("tcp", target, limit)
		}
	}
	conn, err := connect(o.Target, o.Each)
	if err == nil {
		defer conn.Close()
		err = first(conn, o.Each)
	}
	if err != nil {
		return answer{Bad: 1, Why: why(err)}, nil
	}
	began, n := time.Now(), int(o.For/o.Every)
	if err := conn.SetDeadline(began.Add(o.For + o.Each)); err != nil {
		return a, err
	}
	opened := make(chan answer, 1)
	go func() {
		stalled, _ := c.hold(order{N: o.N, Mode: modeDown, Target: o.Target, Each: o.Each})
		opened <- stalled
	}()
	go func() {
		b := make([]byte, message)
		for i := range n {
			time.Sleep(time.Until(began.Add(time.Duration(i) * o.Every)))
			if _, err := conn.Write(b); err != nil {
				return // the reader sees it too
			}
		}
	}()
	b := make([]byte, message)
	for i := range n {
		if _, err := io.ReadFull(conn, b); err != nil {
			return answer{Bad: n - i, Why: why(err)}, ctx.Err()
		}
		a.Times = append(a.Times, times{Echo: time.Since(began.Add(time.Duration(i) * o.Every)).Seconds()})
	}
	stalled := <-opened
	a.Bad, a.Why = stalled.Bad, stalled.Why
	return a, nil
}

// bulk opens streams that are busy until they are released.
func (c *client) bulk(o order) (a answer, err error) {
	zeros := make([]byte, chunk)
	for range o.N {
		conn, err := c.connect(o.Target, o.Each)
		if err == nil {
			_, err = conn.Write([]byte{o.Mode})
		}
		if err != nil { // the next would fare no better, and take as long
			return answer{Bad: 1, Why: why(err)}, nil
		}
		c.keep(conn)
		if o.Mode != modeUp {
			go c.count(conn)
		}
		if o.Mode != modeDown {
			go func() {
				for {
					if _, err := conn.Write(zeros); err != nil {
						return
					}
				}
			}()
		}
	}
	return a, nil
}

func (c *client) count(conn net.Conn) {
	b := make([]byte, chunk)
	for {
		n, err := conn.Read(b)
		c.bytes.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func (c *client) keep(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = append(c.held, conn)
	c.live++
}

// atOnce is how many dials of hold are under way together: fewer than connections
// wait in the backlog of a unix socket.
const atOnce = 2000

// hold opens streams all at once and keeps them. Those of mode echo have echoed once;
// of what a stream of mode down brings nothing is read.
func (c *client) hold(o order) (a answer, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	turn := make(chan struct{}, atOnce)
	for range o.N {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			conn, err := c.connect(o.Target, o.Each)
			if err == nil {
				c.keep(conn)
				if o.Mode == modeEcho {
					err = first(conn, o.Each)
				} else {
					_, err = conn.Write([]byte{o.Mode})
				}
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				a.Bad, a.Why = a.Bad+1, why(err)
			}
		})
	}
	wg.Wait()
	return a, nil
}

// check echoes once on each stream that is held.
func (c *client) check(o order) (a answer, err error) {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, conn := range held {
		wg.Go(func() {
			if err := ping(conn, make([]byte, message), o.Each); err != nil {
				mu.Lock()
				defer mu.Unlock()
				a.Bad, a.Why = a.Bad+1, why(err)
			}
		})
	}
	wg.Wait()
	return a, nil
}

// watch notes when the streams that are held end.
func (c *client) watch() (answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.held {
		if err := conn.SetDeadline(time.Time{}); err != nil {
			return answer{}, err
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn) // its end is what matters, whatever it is
			c.mu.Lock()
			defer c.mu.Unlock()
			c.live--
			c.ended = time.Now()
		}()
	}
	return answer{}, nil
}

func (c *client) release() (answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.held {
		_ = conn.Close() // it may have ended long ago
	}
	c.held, c.live = nil, 0
	return answer{}, nil
}

// why is what went wrong, without on which of many sockets.
func why(err error) string {
	if on := (*net.OpError)(nil); errors.As(err, &on) {
		err = on.Err
	}
	return err.Error()
}
