package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/cmd/weft/internal/fabrictest"
)

// patience bounds what a test waits for on loopback.
const patience = 30 * time.Second

// running is a command that goes on until it is interrupted.
type running struct {
	t     *testing.T
	lines chan string // of standard output
	errs  *spoken
	stop  func() int
}

// spoken is what came on standard error.
type spoken struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *spoken) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *spoken) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// begin runs a command against a fabric.
func begin(t *testing.T, f *fabrictest.Fabric, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	out := &running{t: t, lines: make(chan string, 100), errs: &spoken{}}
	env := map[string]string{"WEFT_CONFIG": f.Admin}
	c := &cli{in: strings.NewReader(""), out: w, err: out.errs, env: func(k string) string { return env[k] }, now: clock}
	ended := make(chan int, 1)
	go func() {
		ended <- c.run(ctx, args)
		w.Close()
	}()
	go func() {
		defer close(out.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			out.lines <- s.Text()
		}
	}()
	out.stop = sync.OnceValue(func() int {
		cancel()
		select {
		case code := <-ended:
			return code
		case <-time.After(patience):
			t.Error("it does not end")
			return -1
		}
	})
	t.Cleanup(func() { out.stop() })
	return out
}

// line is the next line of standard output.
func (r *running) line() string {
	r.t.Helper()
	select {
	case l, ok := <-r.lines:
		if !ok {
			r.t.Fatalf("it ended: %s", r.errs)
		}
		return l
	case <-time.After(patience):
		r.t.Fatalf("no line; errors: %s", r.errs)
	}
	return ""
}

func newFabric(t *testing.T) *fabrictest.Fabric {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft-t-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f, err := fabrictest.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// client dials a listener of the command, with an end.
func client(t *testing.T, at string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// echo says something, ends that direction, and returns all that came.
func echo(t *testing.T, c *net.TCPConn, says string) string {
	t.Helper()
	if _, err := io.WriteString(c, says); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSocks(t *testing.T) {
	f := newFabric(t)
	for target, r := range map[string]fabrictest.Refusal{
		"10.42.1.14:22": {Status: 403, Code: "Forbidden", Reason: "port 22 is nobody's to dial; weft explain egresspolicy"},
		"10.42.1.14:81": {Status: 502, Code: "Unreachable", Reason: "n1 dialled 10.42.1.14:81: connection refused"},
		"10.42.1.14:82": {Status: 502, Code: "Unreachable", Reason: "n1 dialled 10.42.1.14:82: no route to host"},
		"10.42.1.14:83": {Status: 504, Code: "TimedOut", Reason: "no answer from 10.42.1.14:83 within 10s"},
		"10.42.1.14:84": {Status: 503, Code: "NoTunnel", Reason: "node n1 has no tunnel to any server"},
		"10.42.1.14:85": {Status: 502, Code: "", Reason: "what no server says"},
	} {
		f.Refused[target] = r
	}
	r := begin(t, f, "socks", "--listen", "127.0.0.1:0", "--node", "n1")
	at := strings.TrimPrefix(r.line(), "SOCKS5 on ")
	for _, tt := range []struct {
		name, asks string
		reply      byte
		want, says string
	}{
		{"by address", "\x01\x0a\x2a\x01\x0e\x00\x50", 0, "n1 10.42.1.14:80\nhello", ""},
		{"by name", "\x03\x08web.shop\x01\xbb", 0, "n1 web.shop:443\nhello", ""},
		{"IPv6", "\x04\xfd\x42\x00\x42\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x0e\x00\x50", 0, "n1 [fd42:42:0:1::e]:80\nhello", ""},
		{"forbidden", "\x01\x0a\x2a\x01\x0e\x00\x16", 2, "", "error: port 22 is nobody's to dial; weft explain egresspolicy"},
		{"refused", "\x01\x0a\x2a\x01\x0e\x00\x51", 5, "", "error: n1 dialled 10.42.1.14:81: connection refused"},
		{"unreachable", "\x01\x0a\x2a\x01\x0e\x00\x52", 4, "", "error: n1 dialled 10.42.1.14:82: no route to host"},
		{"too late", "\x01\x0a\x2a\x01\x0e\x00\x53", 6, "", "error: no answer from 10.42.1.14:83 within 10s"},
		{"no tunnel", "\x01\x0a\x2a\x01\x0e\x00\x54", 3, "", "error: node n1 has no tunnel to any server"},
		{"of no code", "\x01\x0a\x2a\x01\x0e\x00\x55", 1, "", "error: what no server says"},
	} {
		c := client(t, at)
		_, _ = io.WriteString(c, "\x05\x01\x00\x05\x01\x00"+tt.asks)
		answer := make([]byte, 12)
		if _, err := io.ReadFull(c, answer); err != nil || answer[3] != tt.reply {
			t.Errorf("%s: answered %x, %v", tt.name, answer, err)
			continue
		}
		if tt.reply == 0 {
			if got := echo(t, c, "hello"); got != tt.want {
				t.Errorf("%s: %q", tt.name, got)
			}
			continue
		}
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
			t.Errorf("%s: then %q, %v", tt.name, b, err)
		}
		if !strings.Contains(r.errs.String(), tt.says+"\n") {
			t.Errorf("%s: told %q", tt.name, r.errs)
		}
	}
	idle := client(t, at)
	if code := r.stop(); code != 0 {
		t.Errorf("exit status %d: %s", code, r.errs)
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("a client outlives the proxy")
	}
}

func TestPortForward(t *testing.T) {
	f := newFabric(t)
	f.Refused["10.42.1.14:81"] = fabrictest.Refusal{Status: 502, Code: "Unreachable", Reason: "n1 dialled 10.42.1.14:81: connection refused"}
	r := begin(t, f, "port-forward", "pod/web", ":80", ":81", "-n", "shop")
	at := map[string]string{} // by what is forwarded to, on 127.0.0.1
	for len(at) < 2 {
		from, to, ok := strings.Cut(strings.TrimPrefix(r.line(), "Forwarding from "), " -> ")
		if !ok {
			t.Fatalf("%q", from)
		}
		if strings.HasPrefix(from, "127.0.0.1:") {
			at[to] = from
		}
	}
	_, port, _ := net.SplitHostPort(at["80"])
	if six, err := net.Dial("tcp", net.JoinHostPort("::1", port)); err == nil {
		six.Close()
	} else if l, none := net.Listen("tcp", "[::1]:0"); none == nil {
		l.Close()
		t.Errorf("::1 is not listened on: %v", err)
	}
	if got := echo(t, client(t, at["80"]), "hello"); got != "n1 10.42.1.14:80\nhello" {
		t.Errorf("got %q", got)
	}
	c := client(t, at["81"])
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("refused: %q, %v", b, err)
	}
	_, port81, _ := net.SplitHostPort(at["81"])
	if want := fmt.Sprintf("error: forwarding %s -> 81: n1 dialled 10.42.1.14:81: connection refused\n", port81); r.errs.String() != want {
		t.Errorf("told %q, want %q", r.errs, want)
	}
	handled := 0
	for handled < 2 {
		if strings.HasPrefix(r.line(), "Handling connection for ") {
			handled++
		}
	}
	if code := r.stop(); code != 0 {
		t.Errorf("exit status %d: %s", code, r.errs)
	}
}

// TestPortForwardTaken: a port that is in use is an error, and nothing is forwarded.
func TestPortForwardTaken(t *testing.T) {
	f := newFabric(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := begin(t, f, "port-forward", "pod/web", ":80", port+":81", "--address", "127.0.0.1")
	for range r.lines { // until it ends
	}
	if code := r.stop(); code != 1 || !strings.Contains(r.errs.String(), "address already in use; choose another: LOCAL:PORT") {
		t.Errorf("exit status %d: %s", code, r.errs)
	}
}

// TestDialTurnsToTheNextServer: one that does not answer costs a moment, and is not
// asked first the next time.
func TestDialTurnsToTheNextServer(t *testing.T) {
	f := newFabric(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	c := &cli{env: func(string) string { return f.Admin }, now: clock, timeout: patience}
	d, err := c.front()
	if err != nil {
		t.Fatal(err)
	}
	d.Servers = []string{dead.Addr().String(), f.Address}
	for range 2 {
		conn, err := d.Dial(t.Context(), "n1", "10.42.1.14:80")
		if err != nil {
			t.Fatal(err)
		}
		if l, err := bufio.NewReader(conn).ReadString('\n'); l != "n1 10.42.1.14:80\n" || err != nil {
			t.Errorf("said %q, %v", l, err)
		}
		conn.Close()
	}
	// What a target is the matter with is not asked twice.
	d.Servers = []string{f.Address, f.Address}
	for _, tt := range []struct {
		code string
		want int
	}{{"Forbidden", 1}, {"Unreachable", 1}, {"Stopping", 2}, {"Overloaded", 2}} {
		f.Lock()
		f.Dialled, f.Refused["10.42.1.14:22"] = nil, fabrictest.Refusal{Status: 503, Code: tt.code, Reason: "no"}
		f.Unlock()
		_, err := d.Dial(t.Context(), "n1", "10.42.1.14:22")
		f.Lock()
		if err == nil || len(f.Dialled) != tt.want {
			t.Errorf("%s: %v after %q", tt.code, err, f.Dialled)
		}
		f.Unlock()
	}
}
