package konnectivity

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/server/egress"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	proxy "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for, on a machine that is slow.
const patience = 30 * time.Second

// targets is a Dialer over what stands in memory.
type targets func(ctx context.Context, by egress.Asker, to egress.Request) (egress.Conn, error)

// Dial implements Dialer.
func (d targets) Dial(ctx context.Context, by egress.Asker, to egress.Request) (egress.Conn, error) {
	return d(ctx, by, to)
}

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

// hall serves targets by the host that is dialled: a test takes their other ends.
type hall struct {
	t    *testing.T
	ends map[string]chan *net.TCPConn
}

func newHall(t *testing.T, hosts ...string) *hall {
	h := &hall{t, map[string]chan *net.TCPConn{}}
	for _, host := range hosts {
		h.ends[host] = make(chan *net.TCPConn, 1)
	}
	return h
}

// Dial implements Dialer.
func (h *hall) Dial(_ context.Context, _ egress.Asker, to egress.Request) (egress.Conn, error) {
	there, ok := h.ends[to.Host]
	if !ok {
		return nil, &egress.Refusal{Code: egress.Forbidden, Reason: to.String() + " is in no lease", Remedy: "write an EgressPolicy"}
	}
	target, agent := both(h.t)
	there <- target
	return agent, nil
}

// serve begins a Server, and ends it with the test.
func serve(t *testing.T, c Config) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := New(c).Serve(ctx, l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return path
}

// caller is a client's stream.
type caller struct {
	proxy.ProxyService_ProxyClient
	t *testing.T
}

func call(t *testing.T, path string) *caller {
	t.Helper()
	cc, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	wire, err := proxy.NewProxyServiceClient(cc).Proxy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cc.Close() })
	return &caller{wire, t}
}

func (c *caller) say(p *proxy.Packet) {
	c.t.Helper()
	if err := c.Send(p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *caller) dial(random int64, protocol, address string) {
	c.t.Helper()
	c.say(&proxy.Packet{Type: proxy.PacketType_DIAL_REQ, Payload: &proxy.Packet_DialRequest{DialRequest: &proxy.DialRequest{Protocol: protocol, Address: address, Random: random}}})
}

func data(id int64, b []byte) *proxy.Packet {
	return &proxy.Packet{Type: proxy.PacketType_DATA, Payload: &proxy.Packet_Data{Data: &proxy.Data{ConnectID: id, Data: b}}}
}

func closing(id int64) *proxy.Packet {
	return &proxy.Packet{Type: proxy.PacketType_CLOSE_REQ, Payload: &proxy.Packet_CloseRequest{CloseRequest: &proxy.CloseRequest{ConnectID: id}}}
}

// hear is the next packet in words.
func (c *caller) hear() string {
	c.t.Helper()
	p, err := c.Recv()
	if err != nil {
		return status.Code(err).String() + " " + status.Convert(err).Message()
	}
	switch {
	case p.GetDialResponse() != nil:
		r := p.GetDialResponse()
		return strings.TrimSpace(fmt.Sprintf("%v %d %s", p.GetType(), r.GetRandom(), r.GetError()))
	case p.GetCloseResponse() != nil:
		return strings.TrimSpace(fmt.Sprint(p.GetType(), " ", p.GetCloseResponse().GetError()))
	case p.GetData() != nil:
		return fmt.Sprintf("%v %s", p.GetType(), p.GetData().GetData())
	}
	return fmt.Sprint(p)
}

// opened dials, and returns the number of the connection.
func (c *caller) opened(address string) int64 {
	c.t.Helper()
	c.dial(1, "tcp", address)
	p, err := c.Recv()
	if err != nil || p.GetDialResponse().GetConnectID() == 0 {
		c.t.Fatal(p, err)
	}
	return p.GetDialResponse().GetConnectID()
}

func (c *caller) hears(want string) {
	c.t.Helper()
	if got := c.hear(); got != want {
		c.t.Errorf("heard %q, want %q", got, want)
	}
}

func TestConversation(t *testing.T) {
	h := newHall(t, "10.42.1.5")
	c := call(t, serve(t, Config{Dialer: h}))
	id := c.opened("10.42.1.5:80")
	target := <-h.ends["10.42.1.5"]
	c.say(data(id, []byte("question")))
	b := make([]byte, 8)
	if _, err := io.ReadFull(target, b); err != nil || string(b) != "question" {
		t.Errorf("%q, %v", b, err)
	}
	_, _ = io.WriteString(target, "answer")
	c.hears("DATA answer")
	c.say(data(id, []byte("last")))
	c.say(closing(id))
	c.hears("CLOSE_RSP")
	if b, err := io.ReadAll(target); err != nil || string(b) != "last" {
		t.Errorf("the target heard %q, %v", b, err)
	}
	c.say(closing(id)) // again: answered as well
	c.hears("CLOSE_RSP")
}

func TestTargetEnds(t *testing.T) {
	h := newHall(t, "a")
	c := call(t, serve(t, Config{Dialer: h}))
	id := c.opened("a:80")
	target := <-h.ends["a"]
	_, _ = io.WriteString(target, "all there is")
	_ = target.Close()
	c.hears("DATA all there is")
	c.hears("CLOSE_RSP")
	c.say(data(id, []byte("too late"))) // nobody's fault
	c.dial(7, "tcp", "nowhere:80")
	c.hears("DIAL_RSP 7 Forbidden: nowhere:80 is in no lease; write an EgressPolicy")
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		protocol, address string
		err               error
		want              string
	}{
		{"udp", "10.42.1.5:53", nil, `Malformed: protocol "udp" is not dialled; accepted: tcp`},
		{"tcp", "10.42.1.5", nil, `Malformed: "10.42.1.5" is no target; write HOST:PORT, an IPv6 address in brackets`},
		{"tcp", "[fe80::1%eth0]:1", nil, "Malformed: fe80::1%eth0 has a zone, which means something on one machine only"},
		{"tcp", strings.Repeat("a", 70000) + ":1", nil, "Malformed: the target has 70002 bytes; at most 261 are accepted"},
		{"tcp", "n1:1", &egress.Refusal{Code: egress.NoTunnel, Reason: "n1 has no tunnel"}, "NoTunnel: n1 has no tunnel"},
		{"tcp", "n1:1", context.DeadlineExceeded, "TimedOut: the target was not reached in time"},
		{"tcp", "n1:1", errors.New("broken"), "Unreachable: broken"},
	} {
		s := call(t, serve(t, Config{Dialer: targets(func(context.Context, egress.Asker, egress.Request) (egress.Conn, error) { return nil, c.err })}))
		s.dial(3, c.protocol, c.address)
		s.hears("DIAL_RSP 3 " + c.want)
	}
}

// What makes no sense ends its stream, and no other.
func TestNonsense(t *testing.T) {
	h := newHall(t, "a")
	path := serve(t, Config{Dialer: h})
	good := call(t, path)
	id := good.opened("a:80")
	target := <-h.ends["a"]
	for _, p := range []*proxy.Packet{
		{},
		{Type: proxy.PacketType_DATA},
		{Type: proxy.PacketType_DIAL_RSP, Payload: &proxy.Packet_DialResponse{DialResponse: &proxy.DialResponse{}}},
		{Type: proxy.PacketType_CLOSE_RSP, Payload: &proxy.Packet_CloseResponse{CloseResponse: &proxy.CloseResponse{ConnectID: id}}},
		{Type: proxy.PacketType_CLOSE_REQ, Payload: &proxy.Packet_Data{Data: &proxy.Data{ConnectID: id}}},
		{Type: 99, Payload: &proxy.Packet_Data{Data: &proxy.Data{ConnectID: id}}},
	} {
		c := call(t, path)
		c.say(p)
		if got := c.hear(); !strings.HasPrefix(got, codes.InvalidArgument.String()) {
			t.Errorf("%v: %s", p, got)
		}
	}
	large := call(t, path)
	large.say(data(1, make([]byte, maxPacket+1)))
	if got := large.hear(); !strings.HasPrefix(got, codes.ResourceExhausted.String()) {
		t.Error(got)
	}
	other := call(t, path) // another's connection
	other.say(data(id, []byte("stolen")))
	other.say(closing(id))
	other.hears("CLOSE_RSP")
	good.say(data(id, []byte("mine")))
	b := make([]byte, 4)
	if _, err := io.ReadFull(target, b); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
}

// A dial that the client does not want any more ends, and others of its stream do
// not wait for it.
func TestForgottenDial(t *testing.T) {
	ended := make(chan struct{})
	h := newHall(t, "b")
	c := call(t, serve(t, Config{Dialer: targets(func(ctx context.Context, by egress.Asker, to egress.Request) (egress.Conn, error) {
		if to.Host == "b" {
			return h.Dial(ctx, by, to)
		}
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})}))
	c.dial(1, "tcp", "a:1")
	c.dial(1, "tcp", "a:2")
	c.hears("DIAL_RSP 1 Malformed: a dial of this number is under way already")
	c.dial(2, "tcp", "b:1")
	c.hears("DIAL_RSP 2")
	c.say(&proxy.Packet{Type: proxy.PacketType_DIAL_CLS, Payload: &proxy.Packet_CloseDial{CloseDial: &proxy.CloseDial{Random: 1}}})
	<-ended
}

// Many dials under way are refused past a bound.
func TestTooManyDials(t *testing.T) {
	c := call(t, serve(t, Config{MaxDials: 2, Dialer: targets(func(ctx context.Context, _ egress.Asker, _ egress.Request) (egress.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})}))
	for i := range int64(3) {
		c.dial(i, "tcp", "a:1")
	}
	c.hears("DIAL_RSP 2 Overloaded: too many dials are under way here; ask again in a moment")
}

// A target that takes nothing is waited for by its own stream only, and what waits
// for it is bounded.
func TestStalledTarget(t *testing.T) {
	h := newHall(t, "stalled", "well")
	path := serve(t, Config{Dialer: h})
	stalled := call(t, path)
	id := stalled.opened("stalled:80")
	silent := <-h.ends["stalled"]
	const size = 16 << 20
	sent := make([]byte, size)
	_, _ = rand.Read(sent)
	var sending sync.WaitGroup
	sending.Go(func() {
		for b := sent; len(b) > 0; b = b[min(len(b), 32<<10):] {
			if err := stalled.Send(data(id, b[:min(len(b), 32<<10)])); err != nil {
				t.Error(err)
				return
			}
		}
	})
	well := call(t, path)
	other := well.opened("well:80")
	target := <-h.ends["well"]
	for range 100 {
		well.say(data(other, []byte("ping")))
		b := make([]byte, 4)
		if _, err := io.ReadFull(target, b); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, size) // now it reads: nothing was lost
	if _, err := io.ReadFull(silent, got); err != nil || !bytes.Equal(got, sent) {
		t.Error("what came is not what was sent:", err)
	}
	sending.Wait()
}

// Where two share a stream, the one whose target takes nothing is ended, with the
// reason, and the other goes on.
func TestStalledNeighbour(t *testing.T) {
	h := newHall(t, "stalled", "well")
	c := call(t, serve(t, Config{Dialer: h}))
	bad, good := c.opened("stalled:80"), c.opened("well:80")
	<-h.ends["stalled"]
	target := <-h.ends["well"]
	told := make(chan string)
	go func() { told <- c.hear() }()
	var why string
	for why == "" {
		c.say(data(bad, make([]byte, 64<<10)))
		c.say(data(good, []byte("ping")))
		b := make([]byte, 4)
		if _, err := io.ReadFull(target, b); err != nil || string(b) != "ping" {
			t.Fatalf("%q, %v", b, err)
		}
		select {
		case why = <-told:
		default:
		}
	}
	if want := "CLOSE_RSP its target takes nothing, and others share the stream; one stream a connection waits instead"; why != want {
		t.Errorf("heard %q, want %q", why, want)
	}
}

// A client that goes takes its connections along.
func TestClientGoes(t *testing.T) {
	h := newHall(t, "a")
	path := serve(t, Config{Dialer: h})
	cc, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	wire, err := proxy.NewProxyServiceClient(cc).Proxy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	(&caller{wire, t}).opened("a:80")
	target := <-h.ends["a"]
	_ = cc.Close()
	if _, err := target.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
