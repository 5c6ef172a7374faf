package connect

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/server/egress"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for, on a machine that is slow.
const patience = 30 * time.Second

// targets is a Dialer over what stands in memory: each dial is asked of a function.
type targets func(ctx context.Context, by egress.Asker, to egress.Request) (egress.Conn, error)

// Dial implements Dialer.
func (d targets) Dial(ctx context.Context, by egress.Asker, to egress.Request) (egress.Conn, error) {
	return d(ctx, by, to)
}

// front is a Server on a unix socket.
type front struct {
	t    *testing.T
	path string
	stop context.CancelFunc
	done chan struct{}
}

// serve begins one, and ends it with the test.
func serve(t *testing.T, c Config) *front {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f := serveOn(t, l, c)
	f.path = path
	return f
}

func serveOn(t *testing.T, l net.Listener, c Config) *front {
	if c.Who == nil {
		c.Who = func(context.Context, net.Conn) (Guest, error) {
			return Guest{Asker: egress.Asker{Role: egress.Local, Front: "socket"}}, nil
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &front{t: t, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		if err := New(c).Serve(ctx, l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(f.end)
	return f
}

func (f *front) end() {
	f.stop()
	<-f.done
}

// dial connects, and sends what is given.
func (f *front) dial(sent string) *net.UnixConn {
	f.t.Helper()
	c, err := net.Dial("unix", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		f.t.Fatal(err)
	}
	if _, err := io.WriteString(c, sent); err != nil && !strings.Contains(sent, "Host: late") {
		f.t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

// answered reads an answer: its first line, its code and what follows.
func answered(t *testing.T, c net.Conn) (status, code string, rest *bufio.Reader) {
	t.Helper()
	rest = bufio.NewReader(c)
	r, err := http.ReadResponse(rest, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.Status, r.Header.Get(fieldCode), rest
}

const ask = "CONNECT 10.42.1.5:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

// both is a connection as a target's and as the agent's end of it.
func both(t *testing.T) (target, agent *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = b.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return b.(*net.TCPConn), a.(*net.TCPConn)
}

// one is a Dialer whose dials all reach one connection.
func one(c egress.Conn) targets {
	return func(context.Context, egress.Asker, egress.Request) (egress.Conn, error) { return c, nil }
}

func TestWhatIsDialled(t *testing.T) {
	target, agent := both(t)
	var got string
	f := serve(t, Config{Dialer: targets(func(_ context.Context, by egress.Asker, to egress.Request) (egress.Conn, error) {
		got = fmt.Sprint(by, " dials ", to, " on ", to.Node)
		return agent, nil
	})})
	c := f.dial("CONNECT [fd42::5]:10250 HTTP/1.1\r\nHost: x\r\nWeft-Node: n1\r\n\r\nand what follows")
	if status, _, _ := answered(t, c); status != "200 Connection established" {
		t.Error(status)
	}
	if want := "local over socket dials [fd42::5]:10250 on n1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	b := make([]byte, len("and what follows"))
	if _, err := io.ReadFull(target, b); err != nil || string(b) != "and what follows" {
		t.Errorf("the target was told %q, %v", b, err)
	}
}

// Each end may end first, and goes on reading.
func TestHalfClose(t *testing.T) {
	for _, first := range []string{"client", "target", "client, before it was answered"} {
		t.Run(first, func(t *testing.T) {
			target, agent := both(t)
			begun := make(chan struct{})
			f := serve(t, Config{Dialer: targets(func(context.Context, egress.Asker, egress.Request) (egress.Conn, error) {
				<-begun
				return agent, nil
			})})
			client := f.dial(ask)
			ends := func(from interface {
				io.Writer
				CloseWrite() error
			}, say string,
			) {
				if _, err := io.WriteString(from, say); err != nil {
					t.Error(err)
				}
				if err := from.CloseWrite(); err != nil {
					t.Error(err)
				}
			}
			if first == "client, before it was answered" {
				ends(client, "question")
			}
			close(begun)
			_, _, rest := answered(t, client)
			switch first {
			case "client":
				ends(client, "question")
				hears(t, target, "question")
				ends(target, "answer")
				hears(t, rest, "answer")
			case "target":
				ends(target, "answer")
				hears(t, rest, "answer")
				ends(client, "question")
				hears(t, target, "question")
			default:
				hears(t, target, "question")
				ends(target, "answer")
				hears(t, rest, "answer")
			}
		})
	}
}

func hears(t *testing.T, r io.Reader, want string) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil || string(b) != want {
		t.Errorf("heard %q, %v, want %q", b, err, want)
	}
}

// crawl writes or reads some bytes at a time, and lets others go first each time.
type crawl struct{ egress.Conn }

// Read implements net.Conn.
func (c crawl) Read(b []byte) (int, error) { return c.Conn.Read(b[:min(len(b), 1009)]) }

// Write implements net.Conn.
func (c crawl) Write(b []byte) (n int, err error) {
	for err == nil && n < len(b) {
		var m int
		m, err = c.Conn.Write(b[n:min(len(b), n+1009)])
		n += m
	}
	return n, err
}

// Slow readers and writers on every side lose nothing and mix nothing up, both
// directions full.
func TestSlowEnds(t *testing.T) {
	const size = 3 << 20
	up, down := make([]byte, size), make([]byte, size)
	_, _ = rand.Read(up)
	_, _ = rand.Read(down)
	for _, slow := range []string{"nobody", "client", "target", "agent", "all"} {
		t.Run(slow, func(t *testing.T) {
			target, agent := both(t)
			pick := func(who string, c egress.Conn) egress.Conn {
				if slow == who || slow == "all" {
					return crawl{c}
				}
				return c
			}
			f := serve(t, Config{Dialer: one(pick("agent", agent))})
			client := f.dial(ask)
			_, _, rest := answered(t, client)
			if rest.Buffered() > 0 {
				t.Fatal("the target has said nothing yet")
			}
			var ends sync.WaitGroup
			side := func(c egress.Conn, send, want []byte) {
				ends.Go(func() {
					if _, err := c.Write(send); err != nil {
						t.Error(err)
					}
					_ = c.CloseWrite()
				})
				ends.Go(func() {
					if b, err := io.ReadAll(c); err != nil || !bytes.Equal(b, want) {
						t.Errorf("%d of %d bytes came, or others: %v", len(b), len(want), err)
					}
				})
			}
			side(pick("client", client), up, down)
			side(pick("target", target), down, up)
			ends.Wait()
		})
	}
}

func TestRefusals(t *testing.T) {
	reset := "connection reset by peer"
	for _, c := range []struct {
		err  error
		want string
	}{
		{&egress.Refusal{Code: egress.Forbidden, Reason: "169.254.169.254 is the instance metadata", Remedy: "name it in an EgressPolicy"}, "403 169.254.169.254 is the instance metadata; name it in an EgressPolicy Forbidden"},
		{&egress.Refusal{Code: egress.NoTunnel, Reason: "node n7 has no tunnel to any server"}, "503 node n7 has no tunnel to any server NoTunnel"},
		{&egress.Refusal{Code: egress.Overloaded, Reason: "too much"}, "503 too much Overloaded"},
		{&egress.Refusal{Code: egress.Stopping, Reason: "server s1 stops"}, "503 server s1 stops Stopping"},
		{&egress.Refusal{Code: egress.TimedOut, Reason: "n1 got no answer in 30s"}, "504 n1 got no answer in 30s TimedOut"},
		{&egress.Refusal{Code: egress.Unreachable, Reason: "n1: " + reset}, "502 n1: " + reset + " Unreachable"},
		{errors.New("line one\r\nWeft-Code: forged\r\n\u00fcber"), "502 line one  Weft-Code: forged  ?ber Unreachable"},
		{fmt.Errorf("dial: %w", context.DeadlineExceeded), "504 the target was not reached in time TimedOut"},
	} {
		f := serve(t, Config{Dialer: targets(func(context.Context, egress.Asker, egress.Request) (egress.Conn, error) { return nil, c.err })})
		conn := f.dial(ask)
		status, code, rest := answered(t, conn)
		if got := status + " " + code; got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		body, err := io.ReadAll(rest)
		if said, _, _ := strings.Cut(string(body), "\n"); err != nil || !strings.HasPrefix(c.want[len("403 "):], said+" ") {
			t.Errorf("%q, %v", body, err)
		}
		f.end()
	}
}

// What cannot be read is answered, however much of it there is, and nothing is
// dialled.
func TestBadRequests(t *testing.T) {
	f := serve(t, Config{Dialer: targets(func(context.Context, egress.Asker, egress.Request) (egress.Conn, error) {
		t.Error("something was dialled")
		return nil, errors.New("no")
	})})
	ended := func(sent string) *net.UnixConn {
		c := f.dial(sent)
		_ = c.CloseWrite()
		return c
	}
	for _, c := range []struct {
		conn *net.UnixConn
		want string
	}{
		{f.dial("CONNECT " + strings.Repeat("a", 64<<10) + ":80 HTTP/1.1\r\nHost: late\r\n\r\n"), "431 the request has more than 4096 bytes"},
		{f.dial("CONNECT n1 HTTP/1.1\r\nHost: x\r\n\r\n"), `400 "n1" is no target`},
		{f.dial("CONNECT n1:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), `400 field Content-Length`},
		{f.dial("CONNECT n1:80 HTTP/1.1\r\nHost: x\r\nWeft-Hop: 1\r\n\r\n"), "400 only CONNECT is answered here, and no dial that another server hands on"},
		{f.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "400 only CONNECT is answered here"},
		{ended("CONNECT n1:80"), "400 the request ends before its empty line"},
	} {
		if status, code, _ := answered(t, c.conn); !strings.HasPrefix(status, c.want) || code == "" {
			t.Errorf("got  %s (%s)\nwant %s", status, code, c.want)
		}
	}
}

func TestWhoMayNot(t *testing.T) {
	f := serve(t, Config{Who: func(context.Context, net.Conn) (Guest, error) {
		return Guest{}, &egress.Refusal{Code: egress.Forbidden, Reason: "viewer bob may not call CONNECT"}
	}})
	if status, _, _ := answered(t, f.dial(ask)); status != "403 viewer bob may not call CONNECT" {
		t.Error(status)
	}
}

// One that says nothing is not waited for.
func TestSilentClient(t *testing.T) {
	f := serve(t, Config{HeadWithin: 20 * time.Millisecond})
	if status, _, _ := answered(t, f.dial("")); status != "400 no whole request came within 20ms" {
		t.Error(status)
	}
}

// A client that goes before it is answered ends its dial.
func TestGoneClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dialled, ended := make(chan struct{}), make(chan error, 1)
	serveOn(t, l, Config{Dialer: targets(func(ctx context.Context, _ egress.Asker, _ egress.Request) (egress.Conn, error) {
		close(dialled)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, ctx.Err()
	})})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, ask); err != nil {
		t.Fatal(err)
	}
	<-dialled
	_ = c.(*net.TCPConn).SetLinger(0) // its end is a reset
	_ = c.Close()
	if err := <-ended; !errors.Is(err, errHungUp) {
		t.Error(err)
	}
}

// Who is refused because too many come is told so, and makes room.
func TestTooManyDials(t *testing.T) {
	dialled, release := make(chan struct{}), make(chan struct{})
	f := serve(t, Config{MaxDials: 1, Dialer: targets(func(context.Context, egress.Asker, egress.Request) (egress.Conn, error) {
		dialled <- struct{}{}
		<-release
		return nil, errors.New("enough")
	})})
	first := f.dial(ask)
	<-dialled
	if status, code, _ := answered(t, f.dial(ask)); status != "503 too many dials are under way here; ask again in a moment" || code != string(egress.Overloaded) {
		t.Error(status, code)
	}
	release <- struct{}{}
	if status, _, _ := answered(t, first); status != "502 enough" {
		t.Error(status)
	}
	third := f.dial(ask)
	<-dialled
	close(release)
	if status, _, _ := answered(t, third); status != "502 enough" {
		t.Error(status)
	}
}

// Of those that say nothing the oldest makes room; who speaks is served.
func TestTooManyUnread(t *testing.T) {
	f := serve(t, Config{MaxUnread: 3, HeadWithin: patience, Dialer: one(nil)})
	var silent []*net.UnixConn
	for range 3 {
		silent = append(silent, f.dial(""))
	}
	f.dial("")
	if _, err := silent[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest: %v", err)
	}
	if status, _, _ := answered(t, f.dial("CONNECT x HTTP/1.1\r\nHost: x\r\n\r\n")); !strings.HasPrefix(status, "400 ") {
		t.Error(status)
	}
}

// full is a connection whose other end takes some bytes, and then no more.
type full struct {
	egress.Conn
	left int
}

// Write implements net.Conn.
func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errors.New("it takes no more")
	}
	return f.Conn.Write(b)
}

// A target that takes no more has said why: that arrives, however much the client is
// still sending.
func TestEarlyAnswer(t *testing.T) {
	target, agent := both(t)
	f := serve(t, Config{Dialer: one(&full{agent, 1 << 20})})
	c := f.dial(ask)
	_, _, rest := answered(t, c)
	sent := make(chan int)
	go func() {
		n := 0
		for m, err := 0, error(nil); err == nil; n += m {
			m, err = c.Write(make([]byte, 64<<10))
		}
		sent <- n
	}()
	if _, err := io.ReadFull(target, make([]byte, 512<<10)); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(target, "too much"); err != nil {
		t.Error(err)
	}
	_ = target.CloseWrite()
	hears(t, rest, "too much")
	if n := <-sent; n < 1<<20 { // it ends when the server has had enough
		t.Errorf("%d bytes were taken", n)
	}
}

// When the right to be here ends, so does what it opened.
func TestRevoked(t *testing.T) {
	target, agent := both(t)
	held, revoke := context.WithCancelCause(context.Background())
	left := make(chan struct{})
	f := serve(t, Config{Dialer: one(agent), Who: func(context.Context, net.Conn) (Guest, error) {
		return Guest{Held: held, Leave: func() { close(left) }}, nil
	}})
	c := f.dial(ask)
	_, _, rest := answered(t, c)
	revoke(errors.New("it was revoked"))
	if _, err := rest.ReadByte(); err == nil {
		t.Error("the client goes on")
	}
	if _, err := target.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the target was not told by a reset: %v", err)
	}
	<-left
}

// A client that was closed altogether after it had ended its direction is found
// out, however silent the target is.
func TestAbandoned(t *testing.T) {
	target, agent := both(t)
	f := serve(t, Config{Dialer: one(agent), LookEvery: time.Millisecond})
	c := f.dial(ask)
	answered(t, c)
	_ = c.CloseWrite()
	if _, err := target.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_ = c.Close()
	// What is left of it is a reset: nobody takes what it says any more.
	for err := error(nil); err == nil; {
		_, err = target.Write([]byte("x"))
	}
}

// What is no CONNECT is handed on as it came.
func TestOthers(t *testing.T) {
	others := make(chan net.Conn, 1)
	f := serve(t, Config{Others: func(c net.Conn) { others <- c }})
	const sent = "GET /v1/tunnel HTTP/1.1\r\nHost: x\r\n\r\n"
	c := f.dial(sent)
	_ = c.CloseWrite()
	got := <-others
	defer got.Close()
	if b, err := io.ReadAll(got); err != nil || string(b) != sent {
		t.Errorf("%q, %v", b, err)
	}
}
