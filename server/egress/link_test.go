package egress

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	rules "github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/tunnel"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// agent is the other end of a real tunnel: it echoes, and refuses by port.
type agent struct {
	*tunnel.Conn
	raw net.Conn
}

// tunnelTo opens a node's tunnel to a server, over a real websocket.
func tunnelTo(t *testing.T, s *server, node, instance string) *agent {
	t.Helper()
	door := httptest.NewServer(http.HandlerFunc(s.ServeTunnel))
	t.Cleanup(door.Close)
	raw, err := net.Dial("tcp", strings.TrimPrefix(door.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{HeaderInstance: {instance}, HeaderProtocol: {"1"}, "Node": {node}}
	c, resp, err := tunnel.Dial(t.Context(), raw, strings.Replace(door.URL, "http", "ws", 1)+"/v1/tunnel", h, tunnel.Config{})
	if err != nil {
		t.Fatal(err, resp)
	}
	a := &agent{c, raw}
	var serving sync.WaitGroup
	serving.Go(func() { a.serve(&serving) })
	t.Cleanup(func() { _ = c.Close(); serving.Wait() })
	s.until(func() bool { held := s.sessions.get(node); return held != nil && held.instance == instance })
	return a
}

func (a *agent) serve(serving *sync.WaitGroup) {
	for {
		r, err := a.Accept(context.Background())
		if err != nil {
			return
		}
		dial, err := rules.Decode(r.Target())
		if err != nil {
			_ = r.Refuse(tunnel.Invalid, err.Error())
			continue
		}
		switch dial.Port {
		case 81:
			_ = r.Refuse(tunnel.Forbidden, "rule node-file: port 81 is not for you")
		case 82:
			_ = r.Refuse(tunnel.Refused, "connection refused")
		case 83:
			serving.Go(func() { <-r.Context().Done() }) // no answer
		default:
			stream, err := r.Accept()
			if err != nil {
				continue
			}
			serving.Go(func() {
				_, _ = io.Copy(stream, stream)
				_ = stream.CloseWrite()
				_ = stream.Close()
			})
		}
	}
}

// A dial over a real tunnel: what is sent comes back, each direction ends by itself,
// and what is counted is right.
func TestOverATunnel(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	tunnelTo(t, s, "n1", "i1")
	c, err := s.Dial(t.Context(), ann, Request{Host: "10.42.1.7", Port: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make([]byte, 1<<20)
	_, _ = rand.Read(sent)
	var came bytes.Buffer
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(&came, c)
		done <- err
	}()
	if _, err := io.Copy(c, bytes.NewReader(sent)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !bytes.Equal(sent, came.Bytes()) {
		t.Fatalf("%d of %d bytes came back, %v", came.Len(), len(sent), err)
	}
	_ = c.Close()
	d := s.traces.newest()[0].wire()
	if d.GetResult() != "Closed" || d.GetBytesSent() != 1<<20 || d.GetBytesReceived() != 1<<20 || d.GetVia() != "node" || d.GetNode() != "n1" || len(d.GetSteps()) != 4 {
		t.Errorf("%v", d)
	}
	held := s.here("n1")
	if len(held) != 1 || held[0].GetStreamsTotal() != 1 || held[0].GetBytesSent() < 1<<20 || held[0].GetState() != Ready {
		t.Errorf("%v", held)
	}
}

func TestRefusalsOverATunnel(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackDirect)
	tunnelTo(t, s, "n1", "i1")
	for _, c := range []struct {
		port int
		want string
	}{
		{81, "Forbidden: node n1: rule node-file: port 81 is not for you"},
		{82, "Unreachable: node n1: connection refused"},
		{83, "TimedOut: open a stream to node n1 for 10.42.1.7:83: context deadline exceeded"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if c.port == 83 {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		_, err := s.Dial(ctx, ann, Request{Host: "10.42.1.7", Port: uint16(c.port)})
		cancel()
		if got := fmt.Sprintf("%s: %v", Refused(err).Code, err); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// How a real tunnel ends, and what the next one of the node is counted by.
func TestEndsOfATunnel(t *testing.T) {
	for _, c := range []struct {
		why string
		end func(*server, *agent)
	}{
		{"closed", func(_ *server, a *agent) { _ = a.Close() }},
		{"lost", func(_ *server, a *agent) { _ = a.raw.(*net.TCPConn).SetLinger(0); _ = a.raw.Close() }},
		{"revoked", func(s *server, _ *agent) { s.cuts["n1"](status.Error(codes.PermissionDenied, "revoked")) }},
		{"expired", func(s *server, _ *agent) { s.cuts["n1"](status.Error(codes.Unauthenticated, "ended")) }},
		{"replaced", func(s *server, _ *agent) { s.sessions.get("n1").link.End(errReplaced) }},
	} {
		s := one(t, kind.EgressPod, kind.FallbackClosed)
		a := tunnelTo(t, s, "n1", "i1")
		open, err := s.Dial(t.Context(), ann, Request{Host: "10.42.1.7", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		c.end(s, a)
		if _, err := io.ReadAll(open); err == nil && c.why != "closed" {
			t.Errorf("%s: a stream of the tunnel ended well", c.why)
		}
		_ = open.Close()
		s.until(func() bool { return s.sessions.get("n1") == nil && len(s.sessions.list()) == 0 })
		tunnelTo(t, s, "n1", "i2")
		if _, _, back := s.sessions.counted(); back[c.why] != 1 {
			t.Errorf("%s: counted as %v", c.why, back)
		}
		s.stop()
	}
}

// An agent that is there answers; one that drains opens nothing, and that is no
// refusal of the dial while there is another way.
func TestDrainingAgent(t *testing.T) {
	f := &fabric{}
	s1, s2 := f.started(t, "s1", kind.EgressPod, kind.FallbackClosed), f.started(t, "s2", kind.EgressPod, kind.FallbackClosed)
	a := tunnelTo(t, s1, "n1", "i1")
	link := s1.sessions.get("n1").link
	if !link.Answers(t.Context()) {
		t.Error("an agent that is there does not answer")
	}
	a.Drain()
	s1.until(func() bool { _, err := link.Open(t.Context(), nil); return errors.Is(err, errGone) })
	if !link.Answers(t.Context()) {
		t.Error("an agent that drains does not answer")
	}
	s2.has("n1", echo("n1 at s2"))
	if got := s1.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "n1 at s2 dials") {
		t.Error(got)
	}
}

// BenchmarkDial is what the Gate costs beside the tunnel: both are on loopback in one
// process.
func BenchmarkDial(b *testing.B) {
	g := New(Config{Server: "s1"})
	g.atlas = cluster(b, kind.EgressPod)
	l := newPretended(func(context.Context, rules.Request) (Conn, error) { return nopConn{}, nil })
	if err := g.begin(&session{node: "n1", instance: "i", link: l, since: time.Now()}, context.Background(), func() {}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c, err := g.Dial(context.Background(), ann, Request{Host: "10.42.1.7", Port: 80})
		if err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
	l.End(errStopping)
	g.serving.Wait()
}

type nopConn struct{ Conn }

func (nopConn) Close() error { return nil }
