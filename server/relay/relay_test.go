package relay

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/weft-net/weft/proto/relay"
	"github.com/weft-net/weft/tunnel"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Relay behind a server of HTTP, which believes who its agents say they are.
type world struct {
	*Relay
	t    *testing.T
	addr string

	mu   sync.Mutex
	held map[string]context.CancelCauseFunc
}

func newWorld(t *testing.T, c Config) *world {
	w := &world{t: t, held: map[string]context.CancelCauseFunc{}}
	c.Server = "s1"
	c.Hold = w.hold
	w.Relay = New(c)
	srv := httptest.NewServer(w.Relay)
	w.addr = srv.Listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; srv.Close() })
	return w
}

func (w *world) hold(ctx context.Context, r *http.Request) (string, context.Context, func(), error) {
	node := r.Header.Get("Node")
	if node == "" {
		return "", nil, nil, status.Error(codes.PermissionDenied, "no certificate")
	}
	held, end := context.WithCancelCause(ctx)
	w.mu.Lock()
	w.held[node] = end
	w.mu.Unlock()
	return node, held, func() { end(nil) }, nil
}

// agent is a node's connection.
type agent struct {
	*tunnel.Conn
	got chan string
}

func (w *world) dial(node, instance string) (*agent, *http.Response, error) {
	raw, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	a := &agent{got: make(chan string, 1<<12)}
	h := http.Header{"Node": {node}, wire.HeaderInstance: {instance}, wire.HeaderProtocol: {"2"}}
	var resp *http.Response
	a.Conn, resp, err = tunnel.Dial(context.Background(), raw, "ws://"+w.addr+wire.Path, h, tunnel.Config{Datagram: a.take})
	if err == nil {
		w.t.Cleanup(func() { a.Close() })
		go func() {
			for {
				r, err := a.Accept(context.Background())
				if err != nil {
					return
				}
				_ = r.Refuse(tunnel.Forbidden, "")
			}
		}()
	}
	return a, resp, err
}

// join connects a node, and returns when the Relay knows it.
func (w *world) join(node string) *agent {
	w.t.Helper()
	a, resp, err := w.dial(node, node+"-1")
	if err != nil {
		w.t.Fatal(err)
	}
	if got := resp.Header.Get(wire.HeaderServer); got != "s1" {
		w.t.Errorf("the server says that it is %q", got)
	}
	for w.find([]byte(node)) == nil { // the answer goes before it is entered
		time.Sleep(time.Millisecond)
	}
	return a
}

// take writes down a frame in a line.
func (a *agent) take(b []byte) {
	f, err := wire.Parse(b)
	line := fmt.Sprintf("%s of %s, slot %d: %d x %d %q", map[wire.Kind]string{wire.Packets: "packets", wire.Probe: "probe", wire.Absent: "absent"}[f.Kind], f.Name, f.Slot, f.Count(), f.Size, first(f.Payload))
	if err != nil {
		line = err.Error()
	}
	select {
	case a.got <- line:
	default:
	}
}

func first(b []byte) []byte { return b[:min(len(b), 8)] }

func (a *agent) frame(t *testing.T, kind wire.Kind, slot uint8, size int, name, payload string) {
	t.Helper()
	if err := a.SendDatagram(wire.AppendHead(nil, kind, slot, size, name), []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

func TestCarries(t *testing.T) {
	w := newWorld(t, Config{})
	n1, n2 := w.join("n1"), w.join("n2")
	n2.frame(t, wire.Packets, 1, 3, "n1", "abc")
	if got := <-n1.got; got != `packets of n2, slot 1: 1 x 3 "abc"` {
		t.Error(got)
	}
	n1.frame(t, wire.Packets, 0, 4, "n2", "aaaabbbbcc")
	n1.frame(t, wire.Probe, 1, 0, "n2", "ping")
	n1.frame(t, wire.Packets, 0, 1, "n3", "x")  // not here
	n1.frame(t, wire.Packets, 0, 1, "n1", "x")  // nobody speaks to himself
	n1.frame(t, wire.Absent, 0, 0, "n2", "")    // only a relay says so
	n1.frame(t, wire.Kind(99), 7, 9, "n2", "x") // of a later release
	n1.frame(t, wire.Packets, 9, 1, "n2", "x")  // broken
	n1.frame(t, wire.Probe, 0, 0, "n2", "last")
	for _, c := range []struct {
		at   *agent
		want string
	}{
		{n2, `packets of n1, slot 0: 3 x 4 "aaaabbbb"`},
		{n2, `probe of n1, slot 1: 0 x 0 "ping"`},
		{n2, `probe of n1, slot 0: 0 x 0 "last"`},
		{n1, `absent of n3, slot 0: 0 x 0 ""`},
		{n1, `absent of n1, slot 0: 0 x 0 ""`},
	} {
		if got := <-c.at.got; got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	if broken, absent := w.stats.broken.Load(), w.stats.absent.Load(); broken != 2 || absent != 2 {
		t.Errorf("%d broken, %d absent", broken, absent)
	}
}

func TestWhoIsLetIn(t *testing.T) {
	w := newWorld(t, Config{})
	w.join("n1")
	for _, c := range []struct {
		name, node, instance string
		status               int
		says                 string
	}{
		{"no certificate", "", "x", 403, "no certificate"},
		{"no instance", "n2", "", 400, "1 to 64 visible characters"},
		{"an instance too long", "n2", strings.Repeat("x", 65), 400, "1 to 64 visible characters"},
		{"another process of a node that answers", "n1", "n1-2", 409, "stop that one"},
	} {
		_, resp, err := w.dial(c.node, c.instance)
		if err == nil || resp == nil {
			t.Errorf("%s: %v, %v", c.name, resp, err)
			continue
		}
		b := make([]byte, 1024)
		n, _ := resp.Body.Read(b)
		if resp.StatusCode != c.status || !strings.Contains(string(b[:n]), c.says) {
			t.Errorf("%s: %s, %q", c.name, resp.Status, b[:n])
		}
	}
}

// TestNewestOfAnInstance: it takes the place of the one before, which may still send.
func TestNewestOfAnInstance(t *testing.T) {
	w := newWorld(t, Config{})
	old, n2 := w.join("n1"), w.join("n2")
	was := w.find([]byte("n1"))
	fresh, _, err := w.dial("n1", "n1-1")
	if err != nil {
		t.Fatal(err)
	}
	<-old.Draining()
	if w.find([]byte("n1")) == was {
		t.Fatal("the old one is still in use")
	}
	n2.frame(t, wire.Probe, 0, 0, "n1", "hello")
	if got := <-fresh.got; got != `probe of n2, slot 0: 0 x 0 "hello"` {
		t.Error(got)
	}
	old.frame(t, wire.Probe, 0, 0, "n2", "still")
	if got := <-n2.got; got != `probe of n1, slot 0: 0 x 0 "still"` {
		t.Error(got)
	}
	_ = old.Close()
	for {
		w.mu.Lock()
		w.Relay.mu.RLock()
		left := len(w.all)
		w.Relay.mu.RUnlock()
		w.mu.Unlock()
		if left == 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if w.find([]byte("n1")) == nil {
		t.Error("the end of the old one ended the new one")
	}
}

func TestEndsWithTheCertificate(t *testing.T) {
	w := newWorld(t, Config{})
	n1 := w.join("n1")
	w.mu.Lock()
	w.held["n1"](status.Error(codes.PermissionDenied, "revoked"))
	w.mu.Unlock()
	<-n1.Done()
	for w.find([]byte("n1")) != nil {
		time.Sleep(time.Millisecond)
	}
}

// TestRate: a pair gets its rate, and another pair of the same node is none the worse.
func TestRate(t *testing.T) {
	w := newWorld(t, Config{Rate: 1})
	n1, n2, n3 := w.join("n1"), w.join("n2"), w.join("n3")
	const size = 1000
	for range 200 {
		n1.frame(t, wire.Packets, 0, size, "n2", strings.Repeat("x", size))
	}
	n1.frame(t, wire.Probe, 0, 0, "n3", "after")
	<-n3.got // all before it was taken
	passed := 2 * wire.MaxFrame / size
	if rate := w.stats.rate.Load(); rate < uint64(200-passed-1) || rate > uint64(200-passed+1) {
		t.Errorf("%d of 200 were too many; %d should have passed", rate, passed)
	}
	if got := len(n2.got); got > passed+1 {
		t.Errorf("%d came", got)
	}
}

// TestAbsenceIsNotAnsweredForEver: who asks without end gets few answers.
func TestAbsenceIsNotAnsweredForEver(t *testing.T) {
	w := newWorld(t, Config{})
	n1 := w.join("n1")
	for i := 0; w.stats.absent.Load() < 2000; i++ { // the sender's own queue drops some of them
		n1.frame(t, wire.Packets, 0, 1, fmt.Sprintf("no%d", i), "x")
	}
	if got := len(n1.got); got > 1000 {
		t.Errorf("%d answers to 2000 frames", got)
	}
}

// TestSlowNodeHoldsUpNobody: what is for a node that does not read is thrown away; the
// sender and others go on.
func TestSlowNodeHoldsUpNobody(t *testing.T) {
	w := newWorld(t, Config{Rate: -1})
	n1, n3 := w.join("n1"), w.join("n3")
	hears := w.deaf()
	big := strings.Repeat("x", 15000)
	for i := 0; w.dropped() == 0; i++ {
		n1.frame(t, wire.Packets, 0, 1500, "deaf", big)
		if i%100 == 0 {
			n1.frame(t, wire.Probe, 0, 0, "n3", "beat")
			<-n3.got
		}
	}
	close(hears)
}

// dropped is how many frames waited for too long.
func (w *world) dropped() (n uint64) {
	w.Relay.mu.RLock()
	defer w.Relay.mu.RUnlock()
	for s := range w.all {
		n += s.conn.Stats().DatagramsDropped
	}
	return n
}

// deaf connects a node that reads nothing until hears is closed.
func (w *world) deaf() (hears chan struct{}) {
	w.t.Helper()
	raw, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	hears = make(chan struct{})
	h := http.Header{"Node": {"deaf"}, wire.HeaderInstance: {"deaf-1"}, wire.HeaderProtocol: {"2"}}
	c, _, err := tunnel.Dial(context.Background(), raw, "ws://"+w.addr+wire.Path, h, tunnel.Config{Datagram: func([]byte) { <-hears }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	for w.find([]byte("deaf")) == nil {
		time.Sleep(time.Millisecond)
	}
	return hears
}

// TestStops: agents are told at once, and none is let in any more.
func TestStops(t *testing.T) {
	r := New(Config{Server: "s1", Hold: func(ctx context.Context, r *http.Request) (string, context.Context, func(), error) {
		return r.Header.Get("Node"), ctx, func() {}, nil
	}})
	srv := httptest.NewServer(r)
	defer srv.Close()
	w := &world{Relay: r, t: t, addr: srv.Listener.Addr().String()}
	n1 := w.join("n1")
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	<-n1.Done()
	late, _, err := w.dial("n2", "n2-1")
	if err != nil {
		t.Fatal(err)
	}
	<-late.Done()
}
