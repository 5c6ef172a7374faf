package egress

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/tunnel"
)

// far is a server's end of a tunnel to an agent that serves it.
type far struct {
	t      *testing.T
	agent  *Egress
	tunnel *tunnel.Conn
	near   *tunnel.Conn
	ended  chan error // of Serve
}

var loopback = netip.MustParsePrefix("127.0.0.1/32")

// open permits what the tests dial: it is named itself, by a policy and by the file.
func open() egress.Rules {
	itself := []egress.Rule{{Prefix: loopback}}
	return egress.Rules{
		Facts:    egress.Facts{Node: "n1", Lease: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}},
		Policies: []egress.Policy{{Name: "test", Allow: itself}},
		Bound:    egress.Bound{Allow: itself},
	}
}

// join has an agent serve one tunnel.
func join(t *testing.T, change func(*Config)) *far {
	t.Helper()
	f := &far{t: t, ended: make(chan error, 1)}
	up := make(chan *tunnel.Conn, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := tunnel.Upgrade(w, r, tunnel.Config{})
		if err != nil {
			t.Errorf("upgrade: %v", err)
		}
		up <- c
	}))
	t.Cleanup(web.Close)
	conn, err := net.Dial("tcp", web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if f.near, _, err = tunnel.Dial(t.Context(), conn, "ws://weft/v1/tunnel", nil, tunnel.Config{}); err != nil {
		t.Fatal(err)
	}
	f.tunnel = <-up
	cfg := Config{Node: "n1", Streams: 64, Rules: func() (egress.Rules, error) { return open(), nil }, Own: func(netip.Addr) bool { return false }}
	if change != nil {
		change(&cfg)
	}
	f.agent = New(cfg)
	go func() { f.ended <- f.agent.Serve(context.Background(), f.near, "s1") }()
	t.Cleanup(f.end)
	return f
}

// end closes the tunnel and waits for the agent's end.
func (f *far) end() {
	f.tunnel.Close()
	f.near.Close()
	if f.ended == nil {
		return
	}
	select {
	case err := <-f.ended:
		f.ended = nil
		if err == nil {
			f.t.Error("Serve ended without a reason")
		}
	case <-time.After(time.Minute):
		f.t.Error("Serve does not end with its tunnel")
	}
}

// dial opens a stream to host:port.
func (f *far) dial(host string, port uint16) (*tunnel.Stream, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	return f.open(ctx, egress.Request{ID: "d1", Host: host, Port: port, By: egress.Asker{User: "alice", Role: "operator"}})
}

func (f *far) open(ctx context.Context, r egress.Request) (*tunnel.Stream, error) {
	return f.tunnel.Open(ctx, r.Encode())
}

// must is a dial that is permitted.
func (f *far) must(port uint16) *tunnel.Stream {
	f.t.Helper()
	s, err := f.dial("127.0.0.1", port)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// target is a TCP server on loopback, which serves each connection with do.
func target(t *testing.T, do func(*net.TCPConn)) uint16 {
	t.Helper()
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback.Addr(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	var going sync.WaitGroup
	going.Go(func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			going.Go(func() { defer c.Close(); do(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); going.Wait() })
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// echo gives back what comes, and its end.
func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

// drained waits until no stream is open at the agent: it takes the place of each.
func (f *far) drained() {
	f.t.Helper()
	late := time.After(time.Minute)
	for range cap(f.agent.slots) {
		select {
		case f.agent.slots <- struct{}{}:
		case <-late:
			f.t.Fatalf("%d streams stay open", f.agent.Counts().Streams)
		}
	}
	for range cap(f.agent.slots) {
		<-f.agent.slots
	}
	if n := f.agent.Counts().Streams; n != 0 {
		f.t.Errorf("%d streams are counted as open", n)
	}
}
