package uplink

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/agent/uplink/tunnels"
	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"github.com/weft-net/weft/proto/connect"
	"github.com/weft-net/weft/tunnel"
)

// echoes has a node answer each stream with what it is sent.
func echoes(n *node) {
	n.cfg.Tunnel = func(ctx context.Context, c *tunnel.Conn, _ string) {
		for {
			r, err := c.Accept(ctx)
			if err != nil {
				return
			}
			s, err := r.Accept()
			if err != nil {
				return
			}
			go func() {
				defer s.Close()
				_, _ = io.Copy(s, s)
			}()
		}
	}
}

// say sends a word through a tunnel, and returns what came back.
func say(t *testing.T, ctx context.Context, c *uplinktest.Tunnel, word string) string {
	t.Helper()
	s, err := c.Open(ctx, []byte("target"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.WriteString(s, word); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTunnel(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		echoes(n)
		stop := n.start(ctx, t)
		<-f.Streams
		c := <-f.Tunnels
		if c.Header.Get("Weft-Instance") != n.instance || c.Header.Get("Weft-Protocol") != "2" || c.Shown[0].Subject.CommonName != "n1" {
			t.Errorf("header %v of %v", c.Header, c.Shown[0].Subject)
		}
		if got := say(t, ctx, c, "hello"); got != "hello" {
			t.Errorf("echo %q", got)
		}
		if ts := n.Tunnels(); len(ts) != 1 || ts[0].State != tunnels.Up || ts[0].Server != "192.0.2.1:7443" {
			t.Errorf("tunnels %+v", ts)
		}
		stop()
		<-c.Done()
		if !errors.Is(c.Err(), tunnel.ErrPeerClosed) {
			t.Errorf("the server saw %v", c.Err())
		}
	})
}

// TestTunnelMovesToANewCertificate: it is opened with the new one before the old one
// drains, and what is open goes on.
func TestTunnelMovesToANewCertificate(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		echoes(n)
		defer n.start(ctx, t)()
		<-f.Streams
		first := <-f.Tunnels
		open, err := first.Open(ctx, []byte("target"))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.enrol(ctx, n.identity()); err != nil {
			t.Fatal(err)
		}
		second := <-f.Tunnels
		if first.Shown[0].Equal(second.Shown[0]) {
			t.Error("the new one has the old certificate")
		}
		<-first.Draining()
		if got := say(t, ctx, second, "new"); got != "new" {
			t.Errorf("echo %q", got)
		}
		time.Sleep(time.Minute)
		if _, err := io.WriteString(open, "old"); err != nil {
			t.Error(err)
		}
		_ = open.CloseWrite()
		if b, err := io.ReadAll(open); string(b) != "old" || err != nil {
			t.Errorf("echo %q, %v", b, err)
		}
		_ = open.Close()
		<-first.Done()
	})
}

// TestTunnelFindsADeadPath: packets vanish; the tunnel is given up within 10 s, and
// there again soon after the stream is.
func TestTunnelFindsADeadPath(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		echoes(n)
		dial := n.cfg.Dial
		n.cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := dial(ctx, addr)
			if err != nil {
				return nil, err
			}
			return hole{c, f.IsCut}, nil
		}
		defer n.start(ctx, t)()
		go (<-f.Streams).Beat(ctx)
		<-f.Tunnels
		f.Cut(true)
		began := time.Now()
		for n.Tunnels()[0].State == tunnels.Up {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took > 10*time.Second+200*time.Millisecond {
			t.Errorf("found after %v", took)
		}
		time.Sleep(5 * time.Minute)
		f.Cut(false)
		began = time.Now()
		go (<-f.Streams).Beat(ctx)
		<-f.Tunnels
		if took := time.Since(began); took > 2*connectTimeout+backoffMax+time.Second {
			t.Errorf("back after %v", took)
		}
	})
}

// hole is a connection whose packets vanish while the fabric is cut.
type hole struct {
	net.Conn
	cut func() bool
}

func (h hole) Read(p []byte) (int, error) {
	for {
		n, err := h.Conn.Read(p)
		if err != nil || !h.cut() {
			return n, err
		}
	}
}

func (h hole) Write(p []byte) (int, error) {
	if h.cut() {
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// TestServerWithoutTunnels: one of the last release is no problem, and has one soon
// after it was upgraded.
func TestServerWithoutTunnels(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		echoes(n)
		f.RefuseTunnels(http.NotFound)
		defer n.start(ctx, t)()
		s := <-f.Streams
		go s.Beat(ctx)
		time.Sleep(5 * time.Minute)
		if ts, ps := n.Tunnels(), n.Problems(); ts[0].State != tunnels.None || len(ps) != 0 {
			t.Errorf("tunnels %+v, problems %+v", ts, ps)
		}
		f.RefuseTunnels(nil)
		s.End <- errors.New("the server is upgraded")
		<-f.Streams
		<-f.Tunnels
	})
}

// TestServerSaysNo: what it says and what to do about it is a problem, until it is
// over.
func TestServerSaysNo(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		echoes(n)
		f.RefuseTunnels(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "10")
			http.Error(w, "another agent is node n1: it holds the name from 192.0.2.7:4711, and answers; stop that one", http.StatusConflict)
		})
		defer n.start(ctx, t)()
		go (<-f.Streams).Beat(ctx)
		time.Sleep(20 * time.Second)
		ps := n.Problems()
		if len(ps) != 1 || ps[0].Cause != "no tunnel to server 192.0.2.1:7443: another agent is node n1: it holds the name from 192.0.2.7:4711, and answers" || ps[0].Remedy != "stop that one" {
			t.Errorf("problems: %+v", ps)
		}
		f.RefuseTunnels(nil)
		<-f.Tunnels
		synctest.Wait()
		if ps := n.Problems(); len(ps) != 0 {
			t.Errorf("problems after it: %+v", ps)
		}
	})
}

// TestTunnelProblems: what is shown, and what of it a person must know.
func TestTunnelProblems(t *testing.T) {
	env, err := proxy.FromEnvironment(func(string) string { return "http://p:3128" })
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	at := func(server string, state tunnels.State, ago time.Duration, err error) tunnels.Tunnel {
		return tunnels.Tunnel{Server: server, State: state, Since: now.Add(-ago), Err: err}
	}
	for _, tt := range []struct {
		name string
		of   []tunnels.Tunnel
		want string
	}{
		{"none is known", nil, ""},
		{"all are up", []tunnels.Tunnel{at("s1", tunnels.Up, time.Hour, nil), at("s2", tunnels.Up, 0, nil)}, ""},
		{"one is away", []tunnels.Tunnel{at("s1", tunnels.Up, 0, nil), at("s2", tunnels.Down, time.Hour, errors.New("no route"))}, ""},
		{"none yet", []tunnels.Tunnel{at("s1", tunnels.Down, 20*time.Second, errors.New("no route"))}, ""},
		{"none for long", []tunnels.Tunnel{at("s1", tunnels.Down, 30*time.Second, errors.New("uplink: no route"))}, "no tunnel to server s1: no route -> what dials this node"},
		{"a server that knows none", []tunnels.Tunnel{at("s1", tunnels.None, time.Hour, &connect.Refusal{Status: 404})}, ""},
		{"one says no", []tunnels.Tunnel{at("s1", tunnels.Up, 0, nil), at("s2", tunnels.Refused, 10*time.Second, &connect.Refusal{Status: 403, Reason: "n1 is revoked; join again"})}, "no tunnel to server s2: n1 is revoked -> join again"},
		{"one says no just now", []tunnels.Tunnel{at("s1", tunnels.Refused, 9*time.Second, &connect.Refusal{Status: 403})}, ""},
		{"a proxy says no", []tunnels.Tunnel{at("s1", tunnels.Refused, time.Minute, env.For("s1:7443").Explain("s1:7443", &connect.Refusal{Status: 407}))}, "no tunnel to server s1: proxy: http://p:3128 to server s1:7443: 407 Proxy Authentication Required -> put a user and password"},
	} {
		got := ""
		for _, p := range tunnelProblems(tt.of, now) {
			got += p.Cause + " -> " + p.Remedy
		}
		if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s", tt.name, cmp.Diff(tt.want, got))
		}
	}
}

// TestTunnelBehindAProxy: it goes the way that the stream goes.
func TestTunnelBehindAProxy(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		echoes(n)
		behind(t, n, f, func(*http.Request) (bool, string) { return true, "" })
		defer n.start(ctx, t)()
		c := <-f.Tunnels
		if got := say(t, ctx, c, "hello"); got != "hello" {
			t.Errorf("echo %q", got)
		}
		if ts := n.Tunnels(); ts[0].Proxy != "http://p:3128" {
			t.Errorf("tunnels %+v", ts)
		}
	})
}
